package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// polite is how long a process may take to end after SIGTERM.
const polite = 10 * time.Second

// process is one that runs in the background, with a log.
type process struct {
	name    string
	log     string
	command *exec.Cmd
	ended   chan struct{}
}

// start starts a process in a group of its own: Ctrl-C is for the bench alone.
func start(name, folder string, environment []string, words ...string) (*process, error) {
	log := filepath.Join(folder, name+".log")
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	command := exec.Command(words[0], words[1:]...)
	command.Stdout, command.Stderr = file, file
	command.Env = environment
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	p := &process{name, log, command, make(chan struct{})}
	go func() {
		_ = command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// alive says how the process ended, with the end of its log.
func (p *process) alive() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended (%s); the end of its log:\n%s",
			p.name, p.command.ProcessState, tail(p.log))
	default:
		return nil
	}
}

// stop ends the process and its group.
func (p *process) stop() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(polite):
	}
	// What did not go by itself.
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// fleet is the processes of a cluster.
type fleet []*process

// Servers are their ids.
func (f fleet) Servers() []int {
	ids := make([]int, len(f))
	for i, one := range f {
		ids[i] = one.command.Process.Pid
	}
	return ids
}

// Stop ends them, the last one first.
func (f fleet) Stop() {
	for i := len(f) - 1; i >= 0; i-- {
		f[i].stop()
	}
}

// until waits until ready has no complaint; a process that ended is the end of it.
func (f fleet) until(ctx context.Context, what string, ready func() error) error {
	ctx, cancel := context.WithTimeout(ctx, startUp)
	defer cancel()
	for {
		complaint := ready()
		if complaint == nil {
			return nil
		}
		for _, one := range f {
			if err := one.alive(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, startUp, complaint)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// output runs a command to its end; the error has what it said.
func output(ctx context.Context, environment []string, words ...string) (string, error) {
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Env = environment
	said, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s",
			strings.Join(words, " "), err, strings.TrimSpace(string(said)))
	}
	return string(said), nil
}

// tail is the last few lines of a file.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
