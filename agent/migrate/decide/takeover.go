package decide

// activate asks the mesh for the pod, while it is restored. Under no lease it doesn't: the pod could not run here.
func (t *Target) activate() {
	if t.mayRun() {
		t.ask(t.move.activate())
	}
}

// agreed hears that Activate has won.
func (t *Target) agreed() {
	if !t.activated {
		t.emit(Tell{Milestone: Activated})
	}
	t.activated, t.won = true, t.mayRun()
	t.join()
}

// join is where the restore and the mesh's agreement meet.
func (t *Target) join() {
	switch {
	case t.part != taking || t.busy != "" || t.writing != "":
	case t.broken != "" && t.activated:
		t.giveBack(t.broken)
	case t.broken != "" && t.asked == nil:
		t.giveUp(t.broken)
	case !t.mayResume():
	case !t.has(Resume): // an agent that finds this after the host was down knows that the pod may have run
		t.record(Resume)
	default:
		t.do(Resume)
	}
}

// mayResume: everything is restored, and this node owns the pod: its Activate has won, under the lease that lasts, and no
// Return of its own may be on the way.
func (t *Target) mayResume() bool {
	return t.restored && t.won && t.mayRun() && !t.has(Return)
}

// lease hears of a lease. An Activate that won under an earlier one, or under none, lets nothing run: others may have taken
// the pod over since.
func (t *Target) lease(valid bool) {
	if !t.move.Leased {
		return
	}
	t.leased, t.won = valid, false
	if valid && t.part == taking {
		t.activate()
	}
}

// giveUp ends a move that this node has not tried to activate.
func (t *Target) giveUp(why string) {
	t.part = abandoned
	t.emit(Tell{GaveUp, why})
	t.ask(t.move.abort(why))
}

// giveBack returns a pod that this node owns and never ran to the source, whose frozen copy is as good as it was: it is
// the newest state of the pod, since nothing has run anywhere since the freeze. If it may have run, the Return says so. Once a Return may be on its way nobody
// may resume the pod here, whichever agent lives; and nothing that was restored may live when the source is allowed to
// run it. So first it is recorded, then all is cancelled, then the mesh is asked.
func (t *Target) giveBack(why string) {
	t.part, t.why = returning, why
	if t.has(Return) {
		t.do(Cancel)
		return
	}
	t.record(Return)
}

// own takes up a pod that this node owns: it is restored again from the images, which are all here, unless it has run.
func (t *Target) own() {
	t.activated = true
	if t.has(Return) {
		t.giveBack("taking the pod over had failed")
		return
	}
	t.part = taking
	t.do(Cancel)
	t.activate()
}
