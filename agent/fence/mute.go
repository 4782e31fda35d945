package fence

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What the kernel's packet filter has of drover's: table netdev drover-fence. Nothing else is ever touched.
const (
	muteTable = "drover-fence"
	muteSet   = "leased"
)

// nameSize is IFNAMSIZ of linux/if.h.
const nameSize = 16

// A Mute lets what pods send leave their devices on the host's side only while the node has a lease. The kernel keeps to that by
// itself: a device passes packets only while its name is in a set, whose elements time out. Each muted device has a chain of its own
// at its ingress, so that no other packet of the host costs anything. It knows no suspend: for that there is the fence.
type Mute struct {
	netns int

	mu sync.Mutex // held by a transaction
}

// NewMute is for the network namespace with that descriptor, which the caller keeps open; 0 is that of the process.
func NewMute(netns int) *Mute { return &Mute{netns: netns} }

// Add mutes a device until Pass names it. pod names the rule. Done again it does nothing. The device must be there.
func (m *Mute) Add(pod, device string) error {
	// A change waits some milliseconds until no processor looks at what was before, and this is done while a pod stands still.
	if muted, err := m.has(pod); err != nil || muted {
		return err
	}
	return m.commit("muting "+device, func(c *nftables.Conn, t *nftables.Table, s *nftables.Set) error {
		add(c, t, s, pod, device)
		return nil
	})
}

// add gives a device a chain that drops what comes in by it, unless its name is in the set.
func add(c *nftables.Conn, t *nftables.Table, s *nftables.Set, pod, device string) {
	chain, drop := chainOf(t, pod), nftables.ChainPolicyDrop
	chain.Type, chain.Hooknum, chain.Priority = nftables.ChainTypeFilter, nftables.ChainHookIngress, nftables.ChainPriorityFilter
	chain.Device, chain.Policy = device, &drop
	c.AddChain(chain)
	c.FlushChain(chain)
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{ // iifname @leased accept
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID},
		&expr.Verdict{Kind: expr.VerdictAccept},
	}})
}

// Try says why pods can't be muted here. It leaves nothing behind.
func (m *Mute) Try() error {
	return m.change("trying to mute a device", muteTable+"-try", func(c *nftables.Conn, t *nftables.Table, s *nftables.Set) error {
		add(c, t, s, "try", "lo")
		c.DelTable(t) // in the same transaction: nobody ever sees it
		return nil
	})
}

// Also lets one more device send for that long from now on. One that may send keeps the time that it has. It is done at once, while Pass
// waits as Add does.
func (m *Mute) Also(device string, left time.Duration) error {
	return m.commit("letting a pod send", func(c *nftables.Conn, _ *nftables.Table, s *nftables.Set) error {
		return c.SetAddElements(s, elements([]string{device}, left))
	})
}

// Pass lets these devices, and no other muted one, send for that long from now on; 0 or less is not at all. There is no moment in
// between in which one that may send may not.
func (m *Mute) Pass(devices []string, left time.Duration) error {
	return m.commit("letting pods send", func(c *nftables.Conn, _ *nftables.Table, s *nftables.Set) error {
		c.FlushSet(s)
		return c.SetAddElements(s, elements(devices, left))
	})
}

// elements are those of the set that let devices send for that long.
func elements(devices []string, left time.Duration) (all []nftables.SetElement) {
	left = left.Truncate(time.Millisecond)
	if left <= 0 { // 0 would be for ever
		return nil
	}
	for _, device := range devices {
		key := make([]byte, nameSize)
		copy(key, device)
		all = append(all, nftables.SetElement{Key: key, Timeout: left})
	}
	return all
}

// Remove ends the muting of a pod's device, which passes packets from then on. One that isn't muted is fine.
func (m *Mute) Remove(pod string) error {
	if muted, err := m.has(pod); err != nil || !muted { // also: it went with its device
		return err
	}
	err := m.commit("ending a pod's muting", func(c *nftables.Conn, t *nftables.Table, _ *nftables.Set) error {
		c.FlushChain(chainOf(t, pod))
		c.DelChain(chainOf(t, pod))
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// Sweep removes all that Mutes have put into the kernel. Done again it does nothing.
func (m *Mute) Sweep() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	conn, err := m.open()
	if err != nil {
		return fmt.Errorf("removing the packet filter: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyNetdev)
	if lacks(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("removing the packet filter: %w", err)
	}
	for _, t := range tables {
		if t.Name == muteTable {
			conn.DelTable(t)
		}
	}
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing the packet filter: %w", err)
	}
	return nil
}

// has says whether there is a rule of the pod's. With its device it goes, or since Linux 6.16 waits for another of that name.
func (m *Mute) has(pod string) (bool, error) {
	chains, err := m.chains()
	return slices.Contains(chains, chainOf(nil, pod).Name), err
}

// chains are the names of those in drover's table.
func (m *Mute) chains() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	conn, err := m.open()
	if err != nil {
		return nil, fmt.Errorf("listing muted pods: %w", err)
	}
	all, err := conn.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
	if lacks(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing muted pods: %w", err)
	}
	var names []string
	for _, c := range all {
		if c.Table.Name == muteTable {
			names = append(names, c.Name)
		}
	}
	return names, nil
}

func chainOf(t *nftables.Table, pod string) *nftables.Chain {
	return &nftables.Chain{Table: t, Name: "pod-" + pod}
}

// commit changes drover's table.
func (m *Mute) commit(what string, f func(*nftables.Conn, *nftables.Table, *nftables.Set) error) error {
	return m.change(what, muteTable, f)
}

// change makes the changes of f in one transaction: all of them at once, or none.
func (m *Mute) change(what, name string, f func(*nftables.Conn, *nftables.Table, *nftables.Set) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	conn, err := m.open()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	table := conn.AddTable(&nftables.Table{Name: name, Family: nftables.TableFamilyNetdev})
	set := &nftables.Set{Table: table, Name: muteSet, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian, HasTimeout: true}
	err = conn.AddSet(set, nil)
	if err == nil {
		err = f(conn, table, set)
	}
	if err == nil {
		err = conn.Flush()
	}
	if lacks(err) {
		err = fmt.Errorf("this kernel's nftables can't (CONFIG_NF_TABLES, CONFIG_NF_TABLES_NETDEV; modprobe nf_tables; drover doctor): %w", err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (m *Mute) open() (*nftables.Conn, error) {
	if m.netns == 0 {
		return nftables.New()
	}
	return nftables.New(nftables.WithNetNSFd(m.netns))
}

// lacks says that the kernel has no nftables, or not for devices.
func lacks(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EINVAL)
}
