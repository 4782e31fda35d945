package pod

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Probe is a question that is put to a container again and again; exactly one of Exec, HTTP and TCP is set. Kubernetes'
// defaults stand where the manifest is silent.
type Probe struct {
	Exec []string // a program in the container: it passes with code 0
	HTTP *HTTPProbe
	TCP  *TCPProbe

	Delay   time.Duration // from the container's start to the first question
	Period  time.Duration // between two questions
	Timeout time.Duration // for an answer
	Success int           // so many good answers in a row and it passes
	Failure int           // so many bad ones and it fails
	// Grace is what the container is given to end when it is killed for this probe; below 0 it is the pod's.
	Grace time.Duration
}

// HTTPProbe is a GET; it passes with a status from 200 to 399.
type HTTPProbe struct {
	Scheme  string // http or https; the certificate isn't verified
	Host    string // the pod's address when empty
	Port    int
	Path    string   // with its query, from the slash on
	Headers []Header // Host is one of them
}

// Header is one line of an HTTP request's header.
type Header struct{ Name, Value string }

// TCPProbe passes when a connection is accepted.
type TCPProbe struct {
	Host string // the pod's address when empty
	Port int
}

// Probes are those of a container; nil where it has none.
type Probes struct {
	Startup   *Probe // until it passes the others wait; when it fails the container is killed
	Liveness  *Probe // when it fails the container is killed
	Readiness *Probe // tells whether the container can serve
}

// Probes are those of a container of the manifest.
func (m *Manifest) Probes(container string) Probes {
	c := m.container(container)
	if c == nil {
		return Probes{}
	}
	return Probes{
		Startup:   newProbe(c.StartupProbe, c.Ports),
		Liveness:  newProbe(c.LivenessProbe, c.Ports),
		Readiness: newProbe(c.ReadinessProbe, c.Ports),
	}
}

func newProbe(asked *corev1.Probe, ports []corev1.ContainerPort) *Probe {
	if asked == nil {
		return nil
	}
	p := &Probe{
		Delay:   seconds(asked.InitialDelaySeconds, 0),
		Period:  seconds(asked.PeriodSeconds, 10),
		Timeout: seconds(asked.TimeoutSeconds, 1),
		Success: int(orElse(asked.SuccessThreshold, 1)),
		Failure: int(orElse(asked.FailureThreshold, 3)),
		Grace:   -1,
	}
	if grace := asked.TerminationGracePeriodSeconds; grace != nil {
		p.Grace = time.Duration(min(*grace, maxGrace)) * time.Second
	}
	switch {
	case asked.Exec != nil:
		p.Exec = asked.Exec.Command
	case asked.TCPSocket != nil:
		port, _ := portOf(asked.TCPSocket.Port, ports)
		p.TCP = &TCPProbe{Host: asked.TCPSocket.Host, Port: port}
	case asked.HTTPGet != nil:
		get := asked.HTTPGet
		p.HTTP = &HTTPProbe{Scheme: "http", Host: get.Host, Path: "/"}
		p.HTTP.Port, _ = portOf(get.Port, ports)
		if get.Scheme == corev1.URISchemeHTTPS {
			p.HTTP.Scheme = "https"
		}
		if get.Path != "" {
			p.HTTP.Path = "/" + trimSlash(get.Path)
		}
		for _, h := range get.HTTPHeaders {
			p.HTTP.Headers = append(p.HTTP.Headers, Header{Name: h.Name, Value: h.Value})
		}
	}
	return p
}

func trimSlash(path string) string {
	if path[0] == '/' {
		return path[1:]
	}
	return path
}

func seconds(n, otherwise int32) time.Duration {
	return time.Duration(orElse(n, otherwise)) * time.Second
}

func orElse(n, otherwise int32) int32 {
	if n == 0 {
		return otherwise
	}
	return n
}

// portOf is a port by its number or by the name that the container gives it.
func portOf(port intstr.IntOrString, ports []corev1.ContainerPort) (number int, ok bool) {
	if port.Type == intstr.Int {
		return port.IntValue(), len(validation.IsValidPortNum(port.IntValue())) == 0
	}
	for _, p := range ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort), true
		}
	}
	return 0, false
}
