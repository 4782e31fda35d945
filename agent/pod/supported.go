package pod

import "maps"

// Reasons that are given for more than one field.
const (
	noCluster  = "there is no API server here to take it from; use env, a file of the image or a named volume"
	noAccounts = "there are no service accounts here"
	noPlacing  = "where a pod runs is said by nodeSelector or nodeName"
	noClasses  = "there are no classes of pods here"
	nodesOwn   = "it changes with the node, and the environment of a process that moves can't"
	noLSM      = "AppArmor and SELinux are not set up for pods here"
)

type members = map[string]*field

func named(names ...string) members {
	fields := members{}
	for _, name := range names {
		fields[name] = &field{open: true}
	}
	return fields
}

func (f *field) and(more members) *field {
	maps.Copy(f.members, more)
	return f
}

// object is a mapping with members that may hold anything of their type.
func object(names ...string) *field         { return &field{members: named(names...)} }
func list(item *field) *field               { return &field{items: item} }
func refused(why string) *field             { return &field{why: why} }
func only(why string, values ...any) *field { return &field{only: values, why: why} }

// supported is all that is honoured of a v1 Pod: k8s.io/api/core/v1, types.go. The reasons are for fields that people bring
// along from a cluster.
func supported() *field {
	return object("apiVersion", "kind").and(members{
		"metadata": object("name", "labels", "annotations").and(members{
			"namespace": only("the names of pods are unique in the whole mesh", "default"),
		}),
		"spec": supportedSpec(),
	})
}

func supportedSpec() *field {
	return object("restartPolicy", "hostname", "terminationGracePeriodSeconds", "nodeName", "nodeSelector", "dnsPolicy").and(members{
		"containers":     list(supportedContainer()),
		"initContainers": list(supportedInit()),
		"volumes":        list(supportedVolume()),
		"securityContext": object("runAsUser", "runAsGroup", "runAsNonRoot", "supplementalGroups", "supplementalGroupsPolicy",
			"fsGroup", "fsGroupChangePolicy").and(members{
			"sysctls": list(object("name", "value")), "seccompProfile": object("type", "localhostProfile"),
			"appArmorProfile": refused(noLSM), "seLinuxOptions": refused(noLSM),
		}),
		"dnsConfig":   object("nameservers", "searches").and(members{"options": list(object("name", "value"))}),
		"hostAliases": list(object("ip", "hostnames")),
		"os":          object().and(members{"name": only("", "linux")}),

		"schedulerName":                only(noPlacing, "default-scheduler"),
		"affinity":                     refused(noPlacing),
		"tolerations":                  refused("nodes have no taints here; " + noPlacing),
		"topologySpreadConstraints":    refused(noPlacing),
		"priorityClassName":            refused(noClasses),
		"runtimeClassName":             refused(noClasses),
		"serviceAccountName":           refused(noAccounts),
		"serviceAccount":               refused(noAccounts),
		"automountServiceAccountToken": only(noAccounts, false),
		"enableServiceLinks":           {only: []any{true, false}}, // there are no services to tell of
		"imagePullSecrets":             refused("credentials are taken from the files of the node that pulls"),
		"subdomain":                    refused("no DNS would know it; see hostAliases"),
		"setHostnameAsFQDN":            only("a pod's host name has no domain", false),
		"hostNetwork":                  only("a pod has an address of its own, the same at every site", false),
		"hostPID":                      only("processes of the node can't be moved", false),
		"hostIPC":                      only("shared memory of the node can't be moved", false),
		"hostUsers":                    only("user namespaces are not set up for pods here", true),
		"shareProcessNamespace":        only("each container is dumped and restored with its own processes", false),
		"resources":                    refused("limits and requests are those of its containers"),
	})
}

func supportedContainer() *field {
	resources := object("cpu", "memory").and(members{
		"ephemeral-storage": refused("what is written to a disk is not limited here"),
	})
	return object("name", "image", "command", "args", "workingDir", "imagePullPolicy").and(members{
		"env": list(object("name", "value").and(members{"valueFrom": object().and(members{
			"fieldRef":         object("apiVersion", "fieldPath"),
			"resourceFieldRef": object("containerName", "resource", "divisor"),
			"configMapKeyRef":  refused(noCluster), "secretKeyRef": refused(noCluster),
		})})),
		"envFrom": refused(noCluster),
		// In Kubernetes too a containerPort opens nothing.
		"ports": list(object("name", "containerPort", "protocol").and(members{
			"hostPort": refused("clients reach a pod at its own address, through any node"),
			"hostIP":   refused("clients reach a pod at its own address, through any node"),
		})),
		"resources":       object().and(members{"limits": resources, "requests": resources}),
		"securityContext": supportedSecurity(),
		"volumeMounts": list(object("name", "mountPath", "readOnly", "subPath").and(members{
			"mountPropagation":  only("what is mounted later can't be moved", "None"),
			"recursiveReadOnly": only("", "Disabled"),
		})),
		"volumeDevices":  refused("a device can't be moved to another node"),
		"startupProbe":   supportedProbe("terminationGracePeriodSeconds"),
		"livenessProbe":  supportedProbe("terminationGracePeriodSeconds"),
		"readinessProbe": supportedProbe(),
		"restartPolicy":  refused("all containers follow the pod's restartPolicy; what would be a sidecar stands among the containers"),
		"stdin":          only("", false), "tty": only("", false), "stdinOnce": only("", false),
	})
}

func supportedInit() *field {
	init, why := supportedContainer(), "an init container is over before anyone could ask"
	return init.and(members{"startupProbe": refused(why), "livenessProbe": refused(why), "readinessProbe": refused(why)})
}

func supportedSecurity() *field {
	return object("runAsUser", "runAsGroup", "runAsNonRoot", "readOnlyRootFilesystem", "allowPrivilegeEscalation").and(members{
		"capabilities":    object("add", "drop"),
		"seccompProfile":  object("type", "localhostProfile"),
		"privileged":      only("it would hold on to its node, and could not be moved", false),
		"procMount":       only("", "Default"),
		"appArmorProfile": refused(noLSM), "seLinuxOptions": refused(noLSM),
	})
}

func supportedVolume() *field {
	return object("name").and(members{
		"emptyDir":              object("medium", "sizeLimit"),
		"hostPath":              object("path", "type"),
		"persistentVolumeClaim": object("claimName", "readOnly"),
		"configMap":             refused(noCluster), "secret": refused(noCluster), "projected": refused(noCluster), "downwardAPI": refused(noCluster),
	})
}

func supportedProbe(more ...string) *field {
	return object(append(more, "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")...).and(members{
		"exec":      object("command"),
		"httpGet":   object("path", "port", "host", "scheme").and(members{"httpHeaders": list(object("name", "value"))}),
		"tcpSocket": object("port", "host"),
		"grpc":      refused("use exec, httpGet or tcpSocket"),
	})
}
