package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/drover-mesh/drover/agent/api"
)

// formats are the values of --output, each with a tab and what the shell says of it.
func formats() []string {
	return []string{
		"table\tfor people",
		"wide\ttable with more columns",
		"json\tfor programs, with stable names",
		"yaml\tthe same as json, in YAML",
	}
}

// checkFormat refuses what is no value of --output.
func checkFormat(format string) error {
	var all []string
	for _, known := range formats() {
		name, _, _ := strings.Cut(known, "\t")
		all = append(all, name)
	}
	if slices.Contains(all, format) {
		return nil
	}
	return &api.Error{
		Code: api.InvalidArgument, Why: fmt.Sprintf("--output %q is none of %s", format, strings.Join(all, ", ")),
		Cure: "leave it out for a table, or take json or yaml for a program",
	}
}

// structured tells whether a format is for programs: then a value, and nothing else, is on stdout.
func structured(format string) bool { return format == "json" || format == "yaml" }

// outputOf reads drover's global flag for commands that ask no agent.
func outputOf(cmd *cobra.Command) string { return cmd.Flag("output").Value.String() }

// writeAs writes one value for programs: as YAML if that is the format, else as indented JSON. The names of fields are the same.
func writeAs(w io.Writer, format string, v any) error {
	if format == "yaml" {
		document, err := yaml.Marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(document)
		return err
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// writeNext writes the next value of a stream: as a document of YAML that begins with "---", or as one line of JSON.
func writeNext(w io.Writer, format string, v any) error {
	if format != "yaml" {
		return json.NewEncoder(w).Encode(v)
	}
	document, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append([]byte("---\n"), document...))
	return err
}

func (c *cli) checkOutput() error { return checkFormat(c.output) }

func (c *cli) structured() bool { return structured(c.output) }

func (c *cli) wide() bool { return c.output == "wide" }

// print writes value for programs, or calls text.
func (c *cli) print(value any, text func(io.Writer) error) error {
	if c.structured() {
		return writeAs(c.out, c.output, value)
	}
	return text(c.out)
}
