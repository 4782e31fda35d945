package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// defaultPath is what container images without a PATH of their own get from Docker and containerd.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// arguments is what the container runs, and environment what it sees: Kubernetes' command, then args, with $(NAME)
// replaced by the environment's values.
func (m *Manifest) arguments(c *corev1.Container) (args, environment []string) {
	values := map[string]string{"PATH": defaultPath, "HOSTNAME": m.Hostname()}
	order := []string{"PATH", "HOSTNAME"}
	for _, v := range c.Env {
		if _, ok := values[v.Name]; !ok {
			order = append(order, v.Name)
		}
		values[v.Name] = expand(v.Value, values) // may refer to those before it
	}
	for _, name := range order {
		environment = append(environment, name+"="+values[name])
	}
	for _, arg := range append(append([]string{}, c.Command...), c.Args...) {
		args = append(args, expand(arg, values))
	}
	return args, environment
}

// expand replaces $(NAME) by its value; $$ is a $, and a reference to nothing stays as it is. See
// https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
func expand(text string, values map[string]string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "$")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		if after, ok := strings.CutPrefix(rest, "$"); ok {
			out.WriteByte('$')
			text = after
			continue
		}
		name, after, closed := strings.Cut(strings.TrimPrefix(rest, "("), ")")
		value, known := values[name]
		if strings.HasPrefix(rest, "(") && closed && known {
			out.WriteString(value)
			text = after
			continue
		}
		out.WriteByte('$')
		text = rest
	}
}
