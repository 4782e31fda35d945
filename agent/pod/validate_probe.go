package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
)

// validateProbe is given how many good answers in a row may be asked for at most, 0 for any number.
func (e *ManifestError) validateProbe(at string, p *corev1.Probe, ports []corev1.ContainerPort, maxSuccess int32) {
	if p == nil {
		return
	}
	for name, n := range map[string]int32{
		"initialDelaySeconds": p.InitialDelaySeconds, "periodSeconds": p.PeriodSeconds, "timeoutSeconds": p.TimeoutSeconds,
		"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold,
	} {
		if n < 0 {
			e.add(at+"."+name, "%d is negative", n)
		}
	}
	if maxSuccess > 0 && p.SuccessThreshold > maxSuccess {
		e.add(at+".successThreshold", "%d is not possible: it is %d for startup and liveness", p.SuccessThreshold, maxSuccess)
	}
	if grace := p.TerminationGracePeriodSeconds; grace != nil && *grace <= 0 {
		e.add(at+".terminationGracePeriodSeconds", "%d is not positive", *grace)
	}
	kinds := 0
	if p.Exec != nil {
		kinds++
		if len(p.Exec.Command) == 0 {
			e.add(at+".exec.command", "required")
		}
	}
	if p.TCPSocket != nil {
		kinds++
		e.validatePort(at+".tcpSocket.port", p.TCPSocket.Port, ports)
	}
	if get := p.HTTPGet; get != nil {
		kinds++
		e.validatePort(at+".httpGet.port", get.Port, ports)
		oneOf(e, at+".httpGet.scheme", get.Scheme, corev1.URISchemeHTTP, corev1.URISchemeHTTPS)
		if strings.ContainsFunc(get.Path, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			e.add(at+".httpGet.path", "%q is no path of a URL", get.Path)
		}
		for i, h := range get.HTTPHeaders {
			field := fmt.Sprintf("%s.httpGet.httpHeaders[%d]", at, i)
			e.check(field+".name", validation.IsHTTPHeaderName(h.Name))
			if strings.ContainsAny(h.Value, "\r\n\x00") {
				e.add(field+".value", "%q has more than one line", h.Value)
			}
		}
	}
	if kinds != 1 {
		e.add(at, "exactly one of exec, httpGet and tcpSocket is required")
	}
}

func (e *ManifestError) validatePort(field string, port intstr.IntOrString, ports []corev1.ContainerPort) {
	if _, ok := portOf(port, ports); ok {
		return
	}
	if port.Type == intstr.String {
		e.add(field, "no port of this container is called %q", port.StrVal)
		return
	}
	e.check(field, validation.IsValidPortNum(port.IntValue()))
}
