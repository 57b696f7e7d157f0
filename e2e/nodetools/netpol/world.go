package main

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
)

// world is what the API server has, as far as policies look at it.
type world struct {
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   networkinglisters.NetworkPolicyLister
}

// live leaves out pods without an address of their own, and sorts the others by address.
func live(pods []*corev1.Pod) []*corev1.Pod {
	var r []*corev1.Pod
	for _, p := range pods {
		over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if p.Status.PodIP != "" && !p.Spec.HostNetwork && !over {
			r = append(r, p)
		}
	}
	slices.SortFunc(r, func(a, b *corev1.Pod) int {
		return cmp.Compare(a.Status.PodIP, b.Status.PodIP)
	})
	return r
}

// chosen are the live pods of a namespace that a policy is for.
func (w world) chosen(np *networkingv1.NetworkPolicy) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(&np.Spec.PodSelector)
	if err != nil {
		return nil, err
	}
	pods, err := w.pods.Pods(np.Namespace).List(selector)
	return live(pods), err
}

// peers are the live pods that a peer of a policy in this namespace means.
func (w world) peers(ns string, peer networkingv1.NetworkPolicyPeer) ([]*corev1.Pod, error) {
	selector := labels.Everything()
	if peer.PodSelector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(peer.PodSelector); err != nil {
			return nil, err
		}
	}
	if peer.NamespaceSelector == nil {
		pods, err := w.pods.Pods(ns).List(selector)
		return live(pods), err
	}
	in, err := metav1.LabelSelectorAsSelector(peer.NamespaceSelector)
	if err != nil {
		return nil, err
	}
	namespaces, err := w.namespaces.List(in)
	if err != nil {
		return nil, err
	}
	var all []*corev1.Pod
	for _, n := range namespaces {
		pods, err := w.pods.Pods(n.Name).List(selector)
		if err != nil {
			return nil, err
		}
		all = append(all, pods...)
	}
	return live(all), nil
}

// sorted are all policies in an order that does not change.
func (w world) sorted() ([]*networkingv1.NetworkPolicy, error) {
	policies, err := w.policies.List(labels.Everything())
	slices.SortFunc(policies, func(a, b *networkingv1.NetworkPolicy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return policies, err
}

// portNumber is the number of a port on a pod, or 0 if the pod has no port of that name.
func portNumber(pod *corev1.Pod, protocol corev1.Protocol, p intstr.IntOrString) int {
	if p.Type == intstr.Int {
		return p.IntValue()
	}
	for _, c := range pod.Spec.Containers {
		for _, cp := range c.Ports {
			if cp.Name == p.StrVal && cmp.Or(cp.Protocol, corev1.ProtocolTCP) == protocol {
				return int(cp.ContainerPort)
			}
		}
	}
	return 0
}
