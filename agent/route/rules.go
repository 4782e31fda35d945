package route

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// rules say who consults which of our tables; the priority of each is the table's number.
func (r *Router) rules() []*netlink.Rule {
	here, mesh, peers := netlink.NewRule(), netlink.NewRule(), netlink.NewRule()
	here.Table, here.IifName = TableHere, Device
	mesh.Table = TableMesh
	peers.Table, peers.Src = TablePeers, prefixOf(r.cfg.PodCIDR)
	all := []*netlink.Rule{here, mesh, peers}
	for _, rule := range all {
		rule.Priority, rule.Family, rule.Protocol = rule.Table, netlink.FAMILY_V4, Protocol
	}
	return all
}

// setRules adds the rules that are missing, and removes those that have our protocol, or lead to our tables, and are not among them.
func (r *Router) setRules() error {
	have, err := r.ourRules()
	if err != nil {
		return err
	}
	var errs []error
	for _, want := range r.rules() {
		if i := indexRule(have, want); i >= 0 {
			have = append(have[:i], have[i+1:]...)
			continue
		}
		errs = append(errs, wrap(r.host.RuleAdd(want), "adding the rule for table %d", want.Table))
	}
	return errors.Join(append(errs, r.deleteRules(have))...)
}

func (r *Router) removeRules() error {
	have, err := r.ourRules()
	return errors.Join(err, r.deleteRules(have))
}

func (r *Router) ourRules() ([]netlink.Rule, error) {
	all, err := r.host.RuleList(netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing rules: %w", err)
	}
	var ours []netlink.Rule
	for _, rule := range all {
		if rule.Protocol == Protocol || rule.Table >= TableHere && rule.Table <= TablePeers {
			ours = append(ours, rule)
		}
	}
	return ours, nil
}

func (r *Router) deleteRules(rules []netlink.Rule) error {
	var errs []error
	for _, rule := range rules {
		errs = append(errs, wrap(r.host.RuleDel(&rule), "removing rule %v", rule))
	}
	return errors.Join(errs...)
}

func indexRule(rules []netlink.Rule, want *netlink.Rule) int {
	for i, have := range rules {
		if have.String() == want.String() && have.Protocol == want.Protocol && have.IifName == want.IifName && have.OifName == "" && have.Mark == 0 {
			return i
		}
	}
	return -1
}
