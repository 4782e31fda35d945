package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/drover-mesh/drover/agent/api"
	"github.com/drover-mesh/drover/agent/doctor"
	"github.com/drover-mesh/drover/configs"
)

func newDoctorCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Say what this host lacks, and the command that mends it",
		Example: "  drover doctor\n  drover doctor --config /etc/drover/agent.yaml --output json",
		Long: `Looks at this host's kernel, CRIU, container runtime, control groups, settings and space: whether pods
can run here and move here. Each finding has a level: ok; warn, a move works but something is slower
or missing; fail, no pod can move here. It changes nothing. The exit code is 0 only if nothing fails.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			output := outputOf(cmd)
			// A wish for an unknown format is refused before the host is looked at.
			if err := checkFormat(output); err != nil {
				return err
			}
			wish, err := doctorConfig(file)
			if err != nil {
				return err
			}
			report := doctor.Examine(cmd.Context(), doctor.Real{}, wish)
			return presentReport(cmd.OutOrStdout(), report, output)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the agent's configuration `file`, for its directories and its address (default: "+unitConfig+", if it is there)")
	return cmd
}

// doctorConfig is what the agent would use with that configuration. The usual one need not be there, and what is wrong with it
// is a finding.
func doctorConfig(file string) (doctor.Config, error) {
	wish := doctor.Config{File: file, Installer: installer("/usr/lib/drover/deps.sh")}
	config, err := configs.Default(), error(nil)
	if file != "" {
		if config, err = configs.Load(file); err != nil {
			return wish, err
		}
	} else if _, err := os.Stat(unitConfig); err == nil {
		wish.File = unitConfig
		if config, wish.Wrong = configs.Load(unitConfig); wish.Wrong != nil {
			config = configs.Default()
		}
	}
	wish.StateDir, wish.RunDir, wish.Address = config.StateDir, config.RunDir, config.Address.Addr()
	wish.Systemd = config.CgroupDriver == configs.Systemd
	return wish, nil
}

// installer is the command that installs what pods need: the script that the package brings, or the clone's.
func installer(packaged string) string {
	if _, err := os.Stat(packaged); err == nil {
		return packaged + " pods"
	}
	return "make deps"
}

// presentReport writes the report, and returns an error that sums it up if no pod can move here.
func presentReport(w io.Writer, report doctor.Report, output string) error {
	write := writeReport
	if structured(output) {
		write = func(w io.Writer, report doctor.Report) error { return writeAs(w, output, report) }
	}
	if err := write(w, report); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if !report.Ready {
		return &api.Error{
			Code: api.FailedPrecondition,
			Why:  fmt.Sprintf("no pod can move to this host: %d of %d checks fail", report.Count(doctor.Fail), len(report.Findings)),
			Cure: "run the cures that the report gives, then drover doctor again",
		}
	}
	return nil
}

// writeReport writes a table of all findings, and below it why each bad one matters and its cure.
func writeReport(w io.Writer, report doctor.Report) error {
	rows := make([][]string, len(report.Findings))
	for i, f := range report.Findings {
		rows[i] = []string{f.Check, string(f.Level), f.Found}
	}
	if err := table(w, []string{"CHECK", "LEVEL", "FOUND"}, rows); err != nil {
		return err
	}
	for _, level := range []doctor.Level{doctor.Fail, doctor.Warn} {
		for _, f := range report.Findings {
			if f.Level != level {
				continue
			}
			fmt.Fprintf(w, "\n%s %s: %s\n", f.Level, f.Check, f.Why)
			if f.Cure != "" {
				fmt.Fprintf(w, "  %s\n", f.Cure)
			}
		}
	}
	_, err := fmt.Fprintf(w, "\n%d ok, %d warn, %d fail\n", report.Count(doctor.OK), report.Count(doctor.Warn), report.Count(doctor.Fail))
	return err
}
