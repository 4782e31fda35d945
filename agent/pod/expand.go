package pod

import (
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// defaultPath is what container images without a PATH of their own get from Docker and containerd.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// arguments is what a container runs: the manifest's command in place of the image's entrypoint, and its args in place of the
// image's, which go with the image's entrypoint only.
func arguments(c *corev1.Container, image ImageConfig, values map[string]string) ([]string, error) {
	var args []string
	for _, words := range [][]string{c.Command, c.Args} {
		for _, word := range words {
			args = append(args, expand(word, values))
		}
	}
	if len(c.Command) == 0 {
		if len(c.Args) == 0 {
			args = image.Cmd
		}
		args = append(append([]string{}, image.Entrypoint...), args...)
	}
	if len(args) == 0 || args[0] == "" {
		return nil, errors.New("its image says no program to run: give it a command in the manifest")
	}
	return args, nil
}

// environment is what a container sees: its image's, and over it the manifest's, whose values alone can be referred to.
func (s Spec) environment(c *corev1.Container, image ImageConfig) (list []string, values map[string]string) {
	values = map[string]string{}
	var env variables
	env.set("PATH", defaultPath)
	for _, v := range image.Env {
		name, value, _ := strings.Cut(v, "=")
		env.set(name, value)
	}
	env.set("HOSTNAME", s.Hostname)
	for i := range c.Env {
		v := &c.Env[i]
		if v.ValueFrom != nil {
			values[v.Name] = s.downward(c, v.ValueFrom)
		} else {
			values[v.Name] = expand(v.Value, values) // may refer to those before it
		}
		env.set(v.Name, values[v.Name])
	}
	return env, values
}

// variables are an environment, NAME=value each, in the order in which the names were first set.
type variables []string

func (v *variables) set(name, value string) {
	for i, old := range *v {
		if strings.HasPrefix(old, name+"=") {
			(*v)[i] = name + "=" + value
			return
		}
	}
	*v = append(*v, name+"="+value)
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
