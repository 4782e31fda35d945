//go:build hosts

package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long the test waits for anything: an emulation on a busy machine may be slow, and only a fault is slower.
const patience = 8 * time.Minute

// guest is an emulated host. Its first network card is for us alone, with no way out; the second leads to the other guest.
type guest struct {
	name    string
	slot    int    // 1 or 2: the end of the link between the two guests, and the last byte of its address
	cpu     string // QEMU's name of its CPU
	image   image
	dir     string // for its disk, its console and its sockets
	cargo   string // a tar that it finds as its second disk
	ssh     int    // port on the loopback by which it is reached
	process *os.Process
	ended   chan struct{} // closed when the process has ended
	shell   *shell
}

// address is where its peer and its pods' clients find it.
func (g *guest) address() string { return fmt.Sprintf("10.77.0.%d", g.slot) }

// file is one of its files on this machine.
func (g *guest) file(name string) string { return filepath.Join(g.dir, g.name+"."+name) }

// boot starts the guest and waits until it can be logged in to. With fresh it has a new disk.
func (g *guest) boot(ctx context.Context, fresh bool) error {
	if fresh {
		if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", g.image.file("disk.img"), g.file("disk")).CombinedOutput(); err != nil {
			return fmt.Errorf("copying the disk of %s: %w: %s", g.name, err, out)
		}
	}
	if err := g.start(); err != nil {
		return fmt.Errorf("booting %s: %w", g.name, err)
	}
	limit, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var err error
	if g.shell, err = logIn(limit, fmt.Sprintf("127.0.0.1:%d", g.ssh), g.image.file("key"), g.ended); err != nil {
		return fmt.Errorf("booting %s: %w; its console:\n%s", g.name, err, tail(g.file("console"), 20))
	}
	return nil
}

func (g *guest) start() error {
	if g.ssh == 0 { // the same port for all of its life
		port, err := freePort()
		if err != nil {
			return err
		}
		g.ssh = port
	}
	if err := os.RemoveAll(g.link(g.slot)); err != nil {
		return err
	}
	command, err := g.command()
	if err != nil {
		return err
	}
	out, err := os.Create(g.file("qemu"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "QEMU_MODULE_DIR="+filepath.Join(qemuLibraries(filepath.Dir(g.image.dir)), "qemu"))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the guest dies with the thread that started it
		defer runtime.UnlockOSThread()
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it is ended by a signal, or by the guest
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	g.process, g.ended = cmd.Process, ended
	return nil
}

// link is the socket of one end of the network between the guests.
func (g *guest) link(slot int) string { return filepath.Join(g.dir, fmt.Sprintf("link%d", slot)) }

func qemuLibraries(cache string) string {
	return filepath.Join(cache, "qemu/usr/lib", machine()+"-linux-gnu")
}

// machine is Debian's name of the architecture in paths.
func machine() string { return map[string]string{"amd64": "x86_64"}[runtime.GOARCH] }

// command starts QEMU with the libraries that it was built for, by their own loader.
func (g *guest) command() ([]string, error) {
	cache := filepath.Dir(g.image.dir)
	libraries, usr := qemuLibraries(cache), filepath.Join(cache, "qemu/usr")
	loaders, err := filepath.Glob(filepath.Join(libraries, "ld-linux-*.so.*"))
	if err != nil || len(loaders) != 1 {
		return nil, fmt.Errorf("QEMU is not in %s: run make test-hosts", cache)
	}
	kernel := []string{
		"console=ttyS0", "quiet", "net.ifnames=0", "mitigations=off", "systemd.hostname=" + g.name, "systemd.show_status=0",
		"ip=10.0.2.15::10.0.2.2:255.255.255.0::eth0:off", "ip=" + g.address() + ":::255.255.255.0::eth1:off",
	}
	disk := func(file, more string) string { return "file=" + file + ",format=raw,if=virtio" + more }
	return slices.Concat(
		[]string{loaders[0], "--library-path", libraries, filepath.Join(usr, "bin/qemu-system-"+machine())},
		[]string{"-L", filepath.Join(usr, "share/qemu"), "-L", filepath.Join(usr, "share/seabios")},
		[]string{"-machine", "q35,accel=tcg", "-cpu", g.cpu, "-smp", "1", "-m", "1024"},
		[]string{"-nodefaults", "-no-reboot", "-display", "none", "-device", "virtio-rng-pci"},
		[]string{"-kernel", g.image.file("vmlinuz"), "-initrd", g.image.file("initrd"), "-append", strings.Join(kernel, " ")},
		[]string{"-drive", disk(g.file("disk"), ",cache=unsafe"), "-drive", disk(g.cargo, ",readonly=on")},
		[]string{"-netdev", fmt.Sprintf("user,id=us,restrict=on,hostfwd=tcp:127.0.0.1:%d-:22", g.ssh)},
		[]string{"-device", fmt.Sprintf("virtio-net-pci,netdev=us,mac=52:54:00:00:00:0%d", g.slot)},
		[]string{"-netdev", fmt.Sprintf("dgram,id=peer,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", g.link(g.slot), g.link(3-g.slot))},
		[]string{"-device", fmt.Sprintf("virtio-net-pci,netdev=peer,id=data,mac=52:54:00:00:01:0%d", g.slot)},
		[]string{"-monitor", "unix:" + g.file("monitor") + ",server=on,wait=off", "-serial", "file:" + g.file("console")},
	), nil
}

// setLink plugs the cable of the network between the guests in or out.
func (g *guest) setLink(ctx context.Context, on bool) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", g.file("monitor"))
	if err != nil {
		return fmt.Errorf("the monitor of %s: %w", g.name, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	position := map[bool]string{true: "on", false: "off"}[on]
	if _, err := fmt.Fprintf(conn, "set_link data %s\nquit_monitor\n", position); err != nil {
		return fmt.Errorf("the monitor of %s: %w", g.name, err)
	}
	// It has obeyed the first when it complains of the second.
	var said strings.Builder
	for !strings.Contains(said.String(), "unknown command") {
		if _, err := io.CopyN(&said, conn, 1); err != nil {
			return fmt.Errorf("the monitor of %s: %w: %s", g.name, err, said.String())
		}
	}
	return nil
}

// halt waits until the guest, which was told to end, has. One that doesn't is an error.
func (g *guest) halt(ctx context.Context) error {
	select {
	case <-g.ended:
	case <-time.After(patience):
		return fmt.Errorf("%s doesn't shut down; its console:\n%s", g.name, tail(g.file("console"), 20))
	case <-ctx.Done():
		return ctx.Err()
	}
	g.shell.close()
	return nil
}

// kill ends the guest at once, as a power cut does.
func (g *guest) kill() error {
	if g.process == nil {
		return nil
	}
	err := g.process.Kill()
	<-g.ended
	if g.shell != nil {
		g.shell.close()
	}
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// oops is what its kernel complained of, if anything.
func (g *guest) oops() string {
	console, err := os.ReadFile(g.file("console"))
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(console)) {
		for _, word := range []string{"BUG:", "Oops", "Kernel panic", "rcu_sched self-detected"} {
			if strings.Contains(line, word) {
				return strings.TrimSpace(line)
			}
		}
	}
	return ""
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// tail is the end of a file.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
