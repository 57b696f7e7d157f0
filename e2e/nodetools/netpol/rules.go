package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// direction is one side of a policy, seen from the pod that it is for.
type direction struct {
	name string // of the chains
	own  string // nftables' word for the pod's own address in a packet
	peer string // and for the other side's
}

var (
	ingress = direction{"in", "daddr", "saddr"}
	egress  = direction{"out", "saddr", "daddr"}
)

// source is a peer of a rule.
type source struct {
	match string      // the nftables condition, "" for everybody
	pod   *corev1.Pod // nil if it is not a pod
}

// sources turns a rule's peers into conditions; no peers at all mean everybody.
func (w world) sources(
	ns string, d direction, peers []networkingv1.NetworkPolicyPeer,
) ([]source, error) {
	if len(peers) == 0 {
		return []source{{}}, nil
	}
	var all []source
	for _, peer := range peers {
		if b := peer.IPBlock; b != nil {
			m := fmt.Sprintf("ip %s %s ", d.peer, b.CIDR)
			if len(b.Except) > 0 {
				m += fmt.Sprintf("ip %s != { %s } ", d.peer, strings.Join(b.Except, ", "))
			}
			all = append(all, source{match: m})
			continue
		}
		pods, err := w.peers(ns, peer)
		if err != nil {
			return nil, err
		}
		for _, p := range pods {
			all = append(all, source{fmt.Sprintf("ip %s %s ", d.peer, p.Status.PodIP), p})
		}
	}
	return all, nil
}

// portMatch is the condition for a port of a rule, and whether there is such a port: a name means a
// port of the pod that listens, and may mean none.
func portMatch(p networkingv1.NetworkPolicyPort, listener *corev1.Pod) (string, bool) {
	protocol := corev1.ProtocolTCP
	if p.Protocol != nil {
		protocol = *p.Protocol
	}
	proto := strings.ToLower(string(protocol))
	switch {
	case p.Port == nil:
		return "meta l4proto " + proto + " ", true
	case p.EndPort != nil:
		return fmt.Sprintf("%s dport %d-%d ", proto, p.Port.IntValue(), *p.EndPort), true
	case p.Port.Type == intstr.String && listener == nil:
		return "", false
	}
	n := portNumber(listener, protocol, *p.Port)
	return fmt.Sprintf("%s dport %d ", proto, n), n > 0
}

// allowed are the nftables lines of one rule: what it lets through returns from the pod's chain.
func allowed(pod *corev1.Pod, d direction, sources []source, ports []networkingv1.NetworkPolicyPort,
) []string {
	var lines []string
	for _, s := range sources {
		listener := pod
		if d == egress {
			listener = s.pod
		}
		if len(ports) == 0 {
			lines = append(lines, s.match+"return")
		}
		for _, p := range ports {
			if m, ok := portMatch(p, listener); ok {
				lines = append(lines, s.match+m+"return")
			}
		}
	}
	return lines
}

// lines are what one policy lets through for one pod in one direction.
func (w world) lines(
	np *networkingv1.NetworkPolicy, pod *corev1.Pod, d direction,
) ([]string, error) {
	var all []string
	add := func(peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort,
	) error {
		s, err := w.sources(np.Namespace, d, peers)
		all = append(all, allowed(pod, d, s, ports)...)
		return err
	}
	if d == ingress {
		for _, r := range np.Spec.Ingress {
			if err := add(r.From, r.Ports); err != nil {
				return nil, err
			}
		}
		return all, nil
	}
	for _, r := range np.Spec.Egress {
		if err := add(r.To, r.Ports); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// chains are the lines of every pod that a policy is for, by direction and address. A pod without a
// chain is not restricted; what returns from its chain is allowed, the rest is dropped.
func (w world) chains(d direction) (map[string][]string, error) {
	policies, err := w.sorted()
	if err != nil {
		return nil, err
	}
	kind := map[direction]networkingv1.PolicyType{
		ingress: networkingv1.PolicyTypeIngress, egress: networkingv1.PolicyTypeEgress,
	}[d]
	chains := map[string][]string{}
	for _, np := range policies {
		if !slices.Contains(np.Spec.PolicyTypes, kind) {
			continue
		}
		pods, err := w.chosen(np)
		if err != nil {
			return nil, err
		}
		for _, pod := range pods {
			lines, err := w.lines(np, pod, d)
			if err != nil {
				return nil, err
			}
			chains[pod.Status.PodIP] = append(chains[pod.Status.PodIP], lines...)
		}
	}
	return chains, nil
}

// ruleset is the whole table, for `nft -f`; equal worlds give equal texts.
func (w world) ruleset() (string, error) {
	var chains, jumps strings.Builder
	for _, d := range []direction{ingress, egress} {
		byPod, err := w.chains(d)
		if err != nil {
			return "", err
		}
		var targets []string
		for _, ip := range slices.Sorted(maps.Keys(byPod)) {
			name := d.name + "-" + ip
			fmt.Fprintf(&chains, "  chain %s {\n", name)
			for _, line := range append(byPod[ip], "drop") {
				fmt.Fprintf(&chains, "    %s\n", line)
			}
			chains.WriteString("  }\n")
			targets = append(targets, ip+" : jump "+name)
		}
		if len(targets) > 0 {
			fmt.Fprintf(&jumps, "    ip %s vmap { %s }\n", d.own, strings.Join(targets, ", "))
		}
	}
	return "table inet netpol\ndelete table inet netpol\ntable inet netpol {\n" + chains.String() +
		"  chain forward {\n    type filter hook forward priority -10; policy accept;\n" +
		"    ct state established,related accept\n" + jumps.String() + "  }\n}\n", nil
}
