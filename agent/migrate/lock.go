package migrate

// maxReceived bounds the streams that are received at once for one arrival.
const maxReceived = 32

// lock is held by many who receive, or by one who changes what is received. It is made of channels, so that a test
// in virtual time sees who waits for it.
type lock struct {
	turn  chan struct{} // of who wants it alone
	share chan struct{}
}

func newLock() lock {
	return lock{turn: make(chan struct{}, 1), share: make(chan struct{}, maxReceived)}
}

func (l lock) Lock() {
	l.turn <- struct{}{}
	for range cap(l.share) {
		l.share <- struct{}{}
	}
}

func (l lock) TryLock() bool {
	select {
	case l.turn <- struct{}{}:
	default:
		return false
	}
	for n := range cap(l.share) {
		select {
		case l.share <- struct{}{}:
		default:
			l.release(n)
			return false
		}
	}
	return true
}

func (l lock) Unlock() { l.release(cap(l.share)) }

func (l lock) release(shares int) {
	for range shares {
		<-l.share
	}
	<-l.turn
}

func (l lock) RLock()   { l.share <- struct{}{} }
func (l lock) RUnlock() { <-l.share }
