package main

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

func index(objects ...any) cache.Indexer {
	i := cache.NewIndexer(cache.MetaNamespaceKeyFunc,
		cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		if err := i.Add(o); err != nil {
			panic(err)
		}
	}
	return i
}

func named(ns, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: ns, Name: name, Labels: labels}
}

func pod(ns, app, ip string) *corev1.Pod {
	port := corev1.ContainerPort{Name: "http", ContainerPort: 8080}
	return &corev1.Pod{
		ObjectMeta: named(ns, app, map[string]string{"app": app}),
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{port}}}},
		Status:     corev1.PodStatus{PodIP: ip, Phase: corev1.PodRunning},
	}
}

// rulesFor gives the table for two namespaces, three pods and one policy for the pod shop/db.
func rulesFor(t *testing.T, spec networkingv1.NetworkPolicySpec) string {
	t.Helper()
	spec.PodSelector.MatchLabels = map[string]string{"app": "db"}
	ended := pod("shop", "ended", "10.0.0.9")
	ended.Status.Phase = corev1.PodSucceeded
	w := world{
		corelisters.NewPodLister(index(
			pod("shop", "db", "10.0.0.1"), pod("shop", "web", "10.0.0.2"),
			pod("other", "web", "10.0.0.3"), ended)),
		corelisters.NewNamespaceLister(index(
			&corev1.Namespace{ObjectMeta: named("", "shop", map[string]string{"team": "a"})},
			&corev1.Namespace{ObjectMeta: named("", "other", map[string]string{"team": "b"})})),
		networkinglisters.NewNetworkPolicyLister(index(
			&networkingv1.NetworkPolicy{ObjectMeta: named("shop", "p", nil), Spec: spec})),
	}
	rules, err := w.ruleset()
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// chain is the body of a chain, one rule per element.
func chain(t *testing.T, rules, name string) []string {
	t.Helper()
	_, body, found := strings.Cut(rules, "  chain "+name+" {\n")
	if !found {
		return nil
	}
	body, _, _ = strings.Cut(body, "  }\n")
	var lines []string
	for l := range strings.Lines(body) {
		lines = append(lines, strings.TrimSpace(l))
	}
	return lines
}

func expect(t *testing.T, rules, name string, want ...string) {
	t.Helper()
	if got := chain(t, rules, name); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("chain %s = %q; want %q in\n%s", name, got, want, rules)
	}
}

func from(peers ...networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: peers}},
	}
}

func match(key, value string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func TestAPolicyWithoutRulesDropsEverythingForItsPodsOnly(t *testing.T) {
	rules := rulesFor(t, networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
	})
	expect(t, rules, "in-10.0.0.1", "drop")
	if strings.Contains(rules, "10.0.0.2") || strings.Contains(rules, "out-") {
		t.Errorf("others are restricted too:\n%s", rules)
	}
	if !strings.Contains(rules, "ip daddr vmap { 10.0.0.1 : jump in-10.0.0.1 }") {
		t.Errorf("nothing jumps to the chain:\n%s", rules)
	}
}

func TestPodPeersAreOfThePolicysNamespaceUnlessOneIsSelected(t *testing.T) {
	web := match("app", "web")
	rules := rulesFor(t, from(networkingv1.NetworkPolicyPeer{PodSelector: web}))
	expect(t, rules, "in-10.0.0.1", "ip saddr 10.0.0.2 return", "drop")

	elsewhere := networkingv1.NetworkPolicyPeer{
		PodSelector: web, NamespaceSelector: match("team", "b"),
	}
	expect(t, rulesFor(t, from(elsewhere)), "in-10.0.0.1", "ip saddr 10.0.0.3 return", "drop")

	all := networkingv1.NetworkPolicyPeer{NamespaceSelector: match("team", "a")}
	expect(t, rulesFor(t, from(all)), "in-10.0.0.1",
		"ip saddr 10.0.0.1 return", "ip saddr 10.0.0.2 return", "drop")
}

func TestAddressBlocksKeepTheirExceptions(t *testing.T) {
	block := networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{
		CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16", "10.2.0.0/16"},
	}}
	expect(t, rulesFor(t, from(block)), "in-10.0.0.1",
		"ip saddr 10.0.0.0/8 ip saddr != { 10.1.0.0/16, 10.2.0.0/16 } return", "drop")
}

func TestPortsAreNumbersRangesAndNames(t *testing.T) {
	udp, end := corev1.ProtocolUDP, int32(99)
	number, name := intstr.FromInt32(90), intstr.FromString("http")
	missing := intstr.FromString("none")
	spec := from()
	spec.Ingress[0].Ports = []networkingv1.NetworkPolicyPort{
		{Port: &number}, {Port: &number, EndPort: &end}, {Protocol: &udp},
		{Port: &name}, {Port: &missing}, {Port: &name, Protocol: &udp},
	}
	expect(t, rulesFor(t, spec), "in-10.0.0.1", "tcp dport 90 return", "tcp dport 90-99 return",
		"meta l4proto udp return", "tcp dport 8080 return", "drop")
}

func TestAnEgressNameIsAPortOfThePeer(t *testing.T) {
	name := intstr.FromString("http")
	ports := []networkingv1.NetworkPolicyPort{{Port: &name}}
	spec := networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{
			{Ports: ports, To: []networkingv1.NetworkPolicyPeer{{PodSelector: match("app", "web")}}},
			{Ports: ports}, // to everybody: of whom would the name be?
		},
	}
	rules := rulesFor(t, spec)
	expect(t, rules, "out-10.0.0.1", "ip daddr 10.0.0.2 tcp dport 8080 return", "drop")
	if !strings.Contains(rules, "ip saddr vmap { 10.0.0.1 : jump out-10.0.0.1 }") {
		t.Errorf("nothing jumps to the chain:\n%s", rules)
	}
}

func TestPodsThatEndedAreNobody(t *testing.T) {
	rules := rulesFor(t, from(networkingv1.NetworkPolicyPeer{PodSelector: match("app", "ended")}))
	expect(t, rules, "in-10.0.0.1", "drop")
}
