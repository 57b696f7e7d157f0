package report

import (
	"cmp"
	"fmt"
	"image/color"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"roadstead.dev/bench/internal/plan"
)

const (
	width  = 8 * vg.Inch
	height = 5 * vg.Inch
)

// colours of the peers, in the order of the table: Okabe and Ito's, told apart by everybody.
var colours = []color.Color{
	color.RGBA{0xD5, 0x5E, 0x00, 0xFF},
	color.RGBA{0x00, 0x72, 0xB2, 0xFF},
	color.RGBA{0x00, 0x9E, 0x73, 0xFF},
	color.RGBA{0x56, 0xB4, 0xE9, 0xFF},
	color.RGBA{0xCC, 0x79, 0xA7, 0xFF},
	color.RGBA{0xE6, 0x9F, 0x00, 0xFF},
}

// Plots writes each plot for which there is something, as SVG and PNG.
func Plots(folder string, results Results) error {
	for name, draw := range map[string]func(Results) (*plot.Plot, bool){
		"throughput-p99": throughputLatency,
		"cpu":            cpu,
		"queues": scaling("queues", "queues", func(r plan.Record) int {
			return r.Schedule.Queues
		}),
		"partitions": scaling("partitions", "partitions of the queue",
			func(r plan.Record) int { return r.Schedule.Partitions }),
		"sizes": scaling("sizes", "bytes per message", func(r plan.Record) int {
			return r.Schedule.Size
		}),
		"batch": batches,
	} {
		drawn, something := draw(results)
		if !something {
			continue
		}
		for _, kind := range []string{"svg", "png"} {
			if err := drawn.Save(width, height, filepath.Join(folder, name+"."+kind)); err != nil {
				return fmt.Errorf("cannot plot %s: %w", name, err)
			}
		}
	}
	return nil
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding, p.Legend.Top = vg.Points(8), true
	p.Add(plotter.NewGrid())
	return p
}

// logarithmic where values differ by orders of magnitude; all are above zero.
func logarithmic(axis *plot.Axis) {
	axis.Scale = plot.LogScale{}
	axis.Tick.Marker = plot.LogTicks{Prec: -1}
}

// line of one peer; false where it has no points.
func line(p *plot.Plot, number int, name string, points plotter.XYs) bool {
	points = slices.DeleteFunc(points, func(at plotter.XY) bool { return at.X <= 0 || at.Y <= 0 })
	if len(points) == 0 {
		return false
	}
	slices.SortFunc(points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	drawn, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return false
	}
	drawn.Color, dots.Color = colours[number%len(colours)], colours[number%len(colours)]
	drawn.Width, dots.Shape = vg.Points(1.5), draw.CircleGlyph{}
	p.Add(drawn, dots)
	p.Legend.Add(name, drawn, dots)
	return true
}

// throughputLatency is the p99 of every run with a rate and of the closed loop.
func throughputLatency(results Results) (*plot.Plot, bool) {
	p := newPlot("p99 end to end against throughput, 1 KiB", "messages/s acked", "p99, ms")
	logarithmic(&p.Y)
	logarithmic(&p.X)
	p.Legend.Top, p.Legend.Left = true, true
	something := false
	for number, peer := range results.Peers {
		var points plotter.XYs
		for _, run := range results.Runs {
			if !slices.Contains([]string{"closed", "rates", "sweep"}, run.Group) {
				continue
			}
			x, done := results.Of(peer.Name, run.Run, throughput.of)
			y, _ := results.Of(peer.Name, run.Run, p99.of)
			if done {
				points = append(points, plotter.XY{X: x.Median, Y: y.Median})
			}
		}
		something = line(p, number, peer.Title, points) || something
	}
	return p, something
}

// scaling is the throughput of the closed loop over what its group varies.
func scaling(
	group, label string, of func(plan.Record) int,
) func(Results) (*plot.Plot, bool) {
	return func(results Results) (*plot.Plot, bool) {
		p := newPlot("closed loop over "+label, label, "messages/s acked")
		logarithmic(&p.X)
		p.Y.Min = 0
		something := false
		for number, peer := range results.Peers {
			var points plotter.XYs
			varied := false
			for _, run := range results.Runs {
				if run.Group != group && run.Group != "closed" {
					continue
				}
				y, done := results.Of(peer.Name, run.Run, throughput.of)
				if done {
					varied = varied || run.Group == group
					points = append(points, plotter.XY{X: float64(of(run)), Y: y.Median})
				}
			}
			if varied {
				something = line(p, number, peer.Title, points) || something
			}
		}
		return p, something
	}
}

// short is a title that fits under a bar.
func short(title string) string { return strings.ReplaceAll(title, ", ", ",\n") }
