// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputDelay is how long a process that has ended may keep its output open
// through children of its own before the pipes are cut.
const outputDelay = 2 * time.Second

// A Process runs inside a namespace. It is killed when its namespace is closed
// and when the process that made the lab dies.
type Process struct {
	// Name tells it apart in messages: the base name of its program.
	Name string

	cmd    *exec.Cmd
	stdout text
	stderr text
	done   chan struct{}
	err    error // of exec.Cmd.Wait; read it after done is closed
}

// Start starts a prepared command inside the namespace. Output for which the
// command has no writer yet is kept, for Stdout and Stderr.
func (n *Namespace) Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = &p.stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.stderr
	}
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = outputDelay
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	started := make(chan error)
	go n.keep(p, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s in %s: %w", p.Name, n.Name, err)
	}
	return p, nil
}

// keep starts a process and waits for it on one thread: the parent whose death
// the kernel reports to the child (PR_SET_PDEATHSIG) is the thread.
func (n *Namespace) keep(p *Process, started chan<- error) {
	runtime.LockOSThread()
	if err := awayFromHome(func() error { return n.startHere(p) }); err != nil {
		started <- err
		return // and the thread with it, be it home or not
	}
	started <- nil
	p.err = p.cmd.Wait()
	n.mu.Lock()
	delete(n.processes, p)
	n.mu.Unlock()
	close(p.done)
	runtime.UnlockOSThread()
}

// startHere starts a process and enters it in the books in one step, so that
// Close misses none.
func (n *Namespace) startHere(p *Process) error {
	if err := n.enter(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	n.processes[p] = struct{}{}
	return nil
}

// Run runs a program to its end inside the namespace and returns what it wrote
// to its standard output. The error of a failed program holds what it wrote to
// its standard error.
func (n *Namespace) Run(ctx context.Context, program string, args ...string) (string, error) {
	p, err := n.Start(exec.CommandContext(ctx, program, args...))
	if err != nil {
		return "", err
	}
	if err := p.Wait(); err != nil {
		return p.Stdout(), fmt.Errorf("%s in %s: %w: %s", program, n.Name, err, p.Stderr())
	}
	return p.Stdout(), nil
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Stdout returns what the process has written to its standard output so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr returns what the process has written to its standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process. The error is that of exec.Cmd.Wait:
// an exec.ExitError holds the exit code or the signal.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal. A process that has already ended is no error.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %v to %s: %w", s, p.Name, err)
	}
	return nil
}

// Stop asks the process to end (SIGTERM) and returns the error of its Wait. If
// it is not gone when ctx ends, it is killed and the error says so.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.Kill()
		<-p.done
		return fmt.Errorf("%s did not end on SIGTERM and was killed: %w", p.Name, ctx.Err())
	}
}

// Kill kills the process (SIGKILL) without waiting for its end.
func (p *Process) Kill() {
	// The only failure of a kill by its owner is that the process is gone.
	_ = p.cmd.Process.Kill()
}

// text is a buffer that one goroutine fills while others read it.
type text struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (t *text) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buffer.Write(b)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buffer.String()
}
