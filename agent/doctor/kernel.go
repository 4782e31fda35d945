package doctor

import "context"

// Feature is something that the kernel may lack.
type Feature string

// The features that are tried. Kernels on the edge are often built without one of them.
const (
	CheckpointRestore Feature = "checkpoint/restore"
	Overlay           Feature = "overlayfs"
	Veth              Feature = "veth"
	VXLAN             Feature = "vxlan"
	PolicyRouting     Feature = "policy routing"
	NFTables          Feature = "nf_tables"
	NFTablesNetdev    Feature = "nf_tables netdev"
	SocketDestroy     Feature = "ending connections"
	TUN               Feature = "tun"
	Userfaultfd       Feature = "userfaultfd"
	PagemapScan       Feature = "pagemap scan"
	TimeNamespace     Feature = "time namespaces"
)

// needs lists the features with what they are for. option is the kernel's configuration option.
var needs = []struct {
	feature     Feature
	level       Level // when it is missing
	option, why string
	module      string // to load, if the option may be a module
}{
	{CheckpointRestore, Fail, "CONFIG_CHECKPOINT_RESTORE", "the kernel shows and restores what CRIU dumps", ""},
	{TimeNamespace, Fail, "CONFIG_TIME_NS", "a pod's clocks go on from where they were, however long this host has been up", ""},
	{Overlay, Fail, "CONFIG_OVERLAY_FS", "a pod's root file system is its image below its own changes", "overlay"},
	{Veth, Fail, "CONFIG_VETH", "it connects a pod's network with the host's", "veth"},
	{VXLAN, Fail, "CONFIG_VXLAN", "it carries the pods' packets between nodes", "vxlan"},
	{PolicyRouting, Fail, "CONFIG_IP_MULTIPLE_TABLES", "routes to pods have tables of their own", ""},
	{NFTables, Warn, "CONFIG_NF_TABLES", "CRIU locks the network with it where packets can't be held", "nf_tables"},
	{NFTablesNetdev, Warn, "CONFIG_NF_TABLES_NETDEV", "what pods with a failover policy send ends with the lease of their node; without it they are refused", "nf_tables"},
	{SocketDestroy, Warn, "CONFIG_INET_DIAG_DESTROY", "a pod that goes on after the target of its move was lost must not answer its old TCP connections; without it it stays frozen", "tcp_diag"},
	{TUN, Warn, "CONFIG_TUN", "drover lab emulates its WAN with it", "tun"},
	{Userfaultfd, Warn, "CONFIG_USERFAULTFD", "memory may follow a pod after it has resumed", ""},
	{PagemapScan, Warn, "CONFIG_PROC_PAGE_MONITOR, kernel 6.7", "the kernel tells which memory was written, so that less is read", ""},
}

func checkKernel(_ context.Context, host Host, cfg Config) []Finding {
	var findings []Finding
	for _, n := range needs {
		cure := "boot a kernel with " + n.option
		if n.module != "" {
			cure = "modprobe " + n.module + " # or " + cure
		}
		findings = append(findings, judge(string(n.feature), n.why, "works", host.Try(n.feature, cfg), n.level, cure))
	}
	return findings
}
