package criu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"golang.org/x/sys/unix"
)

const (
	dumpLog    = "dump.log"
	dumpMarker = "dump.json"
	// externalNet is runc's name for a network namespace that it was given: libcontainer, criuNsToKey.
	externalNet = "extRootNetNS"
	// descriptorsFile is where runc looks for what the standard streams were: libcontainer, descriptorsFilename.
	descriptorsFile = "descriptors.json"
)

// Freezer is the cgroup that holds all of the pod's processes.
type Freezer interface {
	Path() string                     // its directory
	Freeze(ctx context.Context) error // also when frozen already
	Frozen() (bool, error)
}

// DumpOptions say what is dumped, and where to. Directories are absolute and exist.
type DumpOptions struct {
	Pid         int               // the pod's first process
	Root        string            // its root file system
	NetNS       string            // its network namespace, which is not dumped
	Freezer     Freezer           // its cgroup
	External    map[string]string // mount points that are not dumped -> the names by which a restore finds their sources
	Tmpfs       map[string]string // mount points of External whose content is dumped all the same -> the directory outside
	Descriptors []string          // what its standard streams were opened on, as runc notes it
	Watched     []string          // watched files that CRIU finds only by their paths
	Images      string            // directory for the images and nothing else; empty
	Work        string            // directory for the log and the marker of this dump; another one
	Program     string            // CRIU; found in PATH when empty
	Apart       []string          // a command that starts the one behind it where it outlives the caller, by exec; may be empty
}

// Dump is a dump under way.
type Dump struct {
	options DumpOptions
	criu    *swrk
	taken   atomic.Bool   // by Run or by Cancel, whichever comes first
	done    chan struct{} // closed when CRIU is gone
}

// marker lets a restarted agent find the CRIU that its predecessor started.
type marker struct {
	Pid    int
	Start  uint64
	Cgroup string `json:",omitempty"` // of the pod
}

// StartDump starts CRIU and returns when it is about to stop the pod's processes, which still run. The caller stops
// traffic, freezes the pod, and calls Run; or Cancel.
func StartDump(ctx context.Context, o DumpOptions) (*Dump, error) {
	opts, files, err := dumpRequest(o)
	defer closeAll(files)
	if err != nil {
		return nil, fmt.Errorf("preparing the dump: %w", err)
	}
	criu, err := startSwrk(o.Program, o.Apart)
	if err != nil {
		return nil, err
	}
	d := &Dump{options: o, criu: criu, done: make(chan struct{})}
	if err := d.begin(ctx, opts); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the dump: %w", d.explain(err)), quiet(criu.close()))
	}
	return d, nil
}

func (d *Dump) begin(ctx context.Context, opts *rpc.CriuOpts) error {
	start, _ := startTime(d.criu.cmd.Process.Pid)
	m, err := json.Marshal(marker{Pid: d.criu.cmd.Process.Pid, Start: start, Cgroup: d.options.Freezer.Path()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.options.Work, dumpMarker), m, 0o600); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { d.criu.conn.Close() })()
	kind := rpc.CriuReqType_DUMP
	// CRIU opens the files of the request through /proc, so they have to stay open until it has answered.
	if err := d.criu.send(&rpc.CriuReq{Type: &kind, Opts: opts}); err != nil {
		return err
	}
	at, _, err := d.criu.receive()
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	if at != "pre-dump" {
		return fmt.Errorf("CRIU notified %q before pre-dump", at)
	}
	return nil
}

// Run dumps the pod, which has to be frozen. onLock is called when CRIU holds the processes and has not yet read their
// sockets: no packet may leave the pod from then on. onDumped is called when everything has been dumped. If one of them
// fails CRIU backs out. Either may be nil. It is called once.
//
// However Run ends, also by a crash of the caller, the pod is left alive and frozen, and its connections are whole: after
// AwaitDump a thaw brings it back.
func (d *Dump) Run(ctx context.Context, onLock, onDumped func() error) error {
	if frozen, err := d.options.Freezer.Frozen(); err != nil || !frozen {
		return errors.Join(errors.New("dumping: the pod is not frozen"), err, d.Cancel())
	}
	if !d.taken.CompareAndSwap(false, true) {
		return errors.New("dumping: the dump was cancelled")
	}
	defer close(d.done)
	err := d.run(ctx, onLock, onDumped)
	if err != nil {
		err = fmt.Errorf("dumping: %w", d.explain(err))
	}
	if closed := d.criu.close(); err == nil && closed != nil {
		err = fmt.Errorf("dumping: %w", closed)
	}
	// CRIU froze it again before it let go. Should it have been killed, it is still our promise.
	if freeze := d.options.Freezer.Freeze(context.WithoutCancel(ctx)); freeze != nil {
		err = errors.Join(err, freeze)
	}
	return err
}

func (d *Dump) run(ctx context.Context, onLock, onDumped func() error) error {
	// Without an answer CRIU backs out by itself, at its next notification.
	defer context.AfterFunc(ctx, func() { d.criu.conn.Close() })()
	for {
		if err := d.criu.reply(true); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		at, _, err := d.criu.receive()
		if err != nil {
			return errors.Join(ctx.Err(), err)
		}
		switch at {
		case "":
			return nil
		case "network-lock":
			err = call(onLock)
		case "post-dump":
			err = d.dumped(ctx, onDumped)
		}
		if err != nil {
			return errors.Join(err, d.backOut())
		}
	}
}

// dumped is CRIU's post-dump: the processes stand still because CRIU holds them, not by the freezer, which it has thawed.
func (d *Dump) dumped(ctx context.Context, onDumped func() error) error {
	if err := d.options.Freezer.Freeze(ctx); err != nil {
		return err
	}
	if err := packTmpfs(d.options.Images, d.options.Tmpfs); err != nil {
		return err
	}
	return call(onDumped)
}

// backOut answers a notification by no, and waits until CRIU has let go of the pod.
func (d *Dump) backOut() error {
	for goOn := false; ; goOn = true {
		if err := d.criu.reply(goOn); err != nil {
			return err
		}
		at, _, err := d.criu.receive()
		if err != nil || at == "" {
			return nil // refused, as was wished
		}
	}
}

// Cancel ends the dump, whatever it is at, and waits until CRIU is gone; a Run that is under way returns an error. It changes
// nothing about whether the pod is frozen. Done again it does nothing.
func (d *Dump) Cancel() error {
	if d.taken.CompareAndSwap(false, true) {
		defer close(d.done)
		return errors.Join(d.backOut(), quiet(d.criu.close()))
	}
	d.criu.conn.Close()
	<-d.done
	return nil
}

// explain adds the reason from CRIU's log to an error.
func (d *Dump) explain(err error) error {
	if reason := DecisiveError(filepath.Join(d.options.Work, dumpLog)); reason != "" && errors.Is(err, errRefused) {
		return fmt.Errorf("%w: %s", err, reason)
	}
	return err
}

// AwaitDump waits for the end of a dump in that work directory, also one that a process before this one has started: that lets
// go of the pod within a moment of its starter's end. Should CRIU have been killed, what it has left of itself in the pod's
// connections is taken back. After that the pod may be thawed. Without such a dump it returns at once.
func AwaitDump(ctx context.Context, work string) error {
	data, err := os.ReadFile(filepath.Join(work, dumpMarker))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var m marker
	if err == nil && len(data) > 0 {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return fmt.Errorf("looking for a dump in %s: %w", work, err)
	}
	if err := gone(ctx, m.Pid, m.Start); err != nil || m.Cgroup == "" {
		return err
	}
	return mend(m.Cgroup)
}

// dumpRequest builds the request. The caller closes the files after CRIU's first answer.
func dumpRequest(o DumpOptions) (*rpc.CriuOpts, []*os.File, error) {
	descriptors, err := json.Marshal(o.Descriptors)
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(o.Images, descriptorsFile), descriptors, 0o600); err != nil {
		return nil, nil, err
	}
	var netns unix.Stat_t
	if err := unix.Stat(o.NetNS, &netns); err != nil {
		return nil, nil, fmt.Errorf("network namespace %s: %w", o.NetNS, err)
	}
	images, err := os.Open(o.Images)
	if err != nil {
		return nil, nil, err
	}
	work, err := os.Open(o.Work)
	if err != nil {
		return nil, []*os.File{images}, err
	}
	lock, cgroups := rpc.CriuNetworkLockMethod_SKIP, rpc.CriuCgMode_IGNORE
	opts := &rpc.CriuOpts{
		ImagesDirFd: new(int32(images.Fd())), WorkDirFd: new(int32(work.Fd())),
		LogLevel: new(int32(2)), LogFile: new(dumpLog), NotifyScripts: new(true),
		Pid: new(int32(o.Pid)), Root: new(o.Root), LeaveRunning: new(true), FreezeCgroup: new(o.Freezer.Path()),
		TcpEstablished: new(true), FileLocks: new(true), OrphanPtsMaster: new(true), EvasiveDevices: new(true),
		// A file that is open and deleted goes along; CRIU's own limit is 1 MiB. One that has other names gets another one until
		// it is restored, as do on overlayfs those of the image. An inotify watch is found by its path.
		GhostLimit: new(uint32(1 << 30)), LinkRemap: new(true), ForceIrmap: new(true), IrmapScanPaths: o.Watched,
		NetworkLock: &lock, ManageCgroups: new(false), ManageCgroupsMode: &cgroups,
		External: []string{fmt.Sprintf("net[%d]:%s", netns.Ino, externalNet)},
	}
	for at, name := range o.External {
		opts.ExtMnt = append(opts.ExtMnt, &rpc.ExtMountMap{Key: new(at), Val: new(name)})
	}
	return opts, []*os.File{images, work}, nil
}

func call(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// quiet drops the exit code of a CRIU that has failed already.
func quiet(err error) error {
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) {
		return nil
	}
	return err
}
