package report

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// thickness of a bar.
const thickness = 26

// headroom above the highest bar.
const headroom = 1.25

// cpu is what servers and clients use per million messages, in the closed loop.
func cpu(results Results) (*plot.Plot, bool) {
	p := newPlot("CPU seconds per million messages, closed loop, 1 KiB", "", "CPU seconds")
	return p, pairs(p, results, []pair{
		{"three nodes", "closed", serverCPU}, {"client", "closed", clientCPU},
	})
}

// batches compares one message at a time with a hundred.
func batches(results Results) (*plot.Plot, bool) {
	p := newPlot("8 producers with 1 and with 100 unconfirmed each, 1 KiB", "", "messages/s confirmed")
	return p, pairs(p, results, []pair{
		{"1 unconfirmed", "batch-1", confirmed}, {"100 unconfirmed", "batch-100", confirmed},
	})
}

// pair is one of several bars that each peer has.
type pair struct {
	title, run string
	figure     figure
}

// pairs draws bars side by side for each peer; false where there is nothing.
func pairs(p *plot.Plot, results Results, bars []pair) bool {
	something := false
	for number, bar := range bars {
		values := make(plotter.Values, len(results.Peers))
		for i, peer := range results.Peers {
			found, done := results.Of(peer.Name, bar.run, bar.figure.of)
			something = something || done
			values[i] = found.Median
		}
		drawn, err := plotter.NewBarChart(values, vg.Points(thickness))
		if err != nil {
			return false
		}
		drawn.Color, drawn.LineStyle.Width = colours[number], 0
		drawn.Offset = vg.Points(thickness * (float64(number) - float64(len(bars)-1)/2))
		p.Add(drawn)
		p.Legend.Add(bar.title, drawn)
	}
	names := make([]string, len(results.Peers))
	for i, peer := range results.Peers {
		names[i] = short(peer.Title)
	}
	p.NominalX(names...)
	// Room for the legend, and for half a bar at both ends.
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	p.Y.Min, p.Y.Max = 0, p.Y.Max*headroom
	return something
}
