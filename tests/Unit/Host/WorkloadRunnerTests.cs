using System.Collections.Concurrent;
using System.Threading.Channels;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Telemetry;

namespace Pollux.Tests.Unit.Hosts;

public sealed class WorkloadRunnerTests : IAsyncDisposable
{
    private const string Definition = "<domain><name>vm1</name></domain>";

    private readonly CancellationTokenSource _patience = new(TimeSpan.FromSeconds(60));
    private readonly FakeHypervisor _hypervisor = new();
    private readonly FakeGuard _guard = new();
    private readonly Channel<RoleInput> _reports = Channel.CreateUnbounded<RoleInput>();
    private readonly ConcurrentQueue<(string Kind, string Text)> _noted = new();
    private readonly WorkloadRunner _runner;

    public WorkloadRunnerTests()
    {
        _runner = new WorkloadRunner(
            "c1/vm1", "vm1", _hypervisor, _guard, guardGraceMs: 50, _ => Task.FromResult(Definition), input => _reports.Writer.TryWrite(input),
            (kind, text) => _noted.Enqueue((kind, text)), () => BootClock.NowMs);
        _runner.Lease(long.MaxValue);
    }

    [Fact]
    public async Task The_guard_knows_the_lease_before_the_vm_starts_and_forgets_after_it_stopped()
    {
        _runner.Lease(1_000_000_000_000);
        _runner.Start();
        Assert.IsType<RoleInput.WorkloadStarted>(await ReportAsync());
        Assert.Equal(["define", "start"], _hypervisor.Calls);
        Assert.Equal((GuardedPhase.Starting, 1_000_000_000_050), (_guard.Said[0].Phase, _guard.Said[0].UntilMs));
        Assert.Equal("running", _runner.State);

        _runner.Stop(60_000);
        Assert.True(Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync()).Commanded);
        Assert.Contains("shutdown", _hypervisor.Calls);
        Assert.DoesNotContain("destroy", _hypervisor.Calls);
        Assert.Empty(_guard.Domains);
    }

    [Fact]
    public async Task A_vm_that_an_earlier_process_left_is_said_to_the_guard_as_it_was_and_goes_on_with_the_next_lease()
    {
        _hypervisor.Set("vm2", DomainState.Paused);
        var kept = new GuardedDomain("vm2", BootClock.NowMs + 20, GuardedPhase.Running);
        await using var runner = new WorkloadRunner(
            "c1/vm2", "vm2", _hypervisor, _guard, guardGraceMs: 50, _ => Task.FromResult(Definition), input => _reports.Writer.TryWrite(input),
            static (_, _) => { }, () => BootClock.NowMs, kept);
        Assert.Equal(kept, _guard.Domains["vm2"]);
        await Task.Delay(300); // No lease, no resume.
        Assert.Equal(DomainState.Paused, _hypervisor.Get("vm2"));
        runner.Lease(long.MaxValue);
        runner.Resume();
        while (_hypervisor.Get("vm2") != DomainState.Running)
            await Task.Delay(5, _patience.Token);
        Assert.DoesNotContain("start", _hypervisor.Calls);

        _hypervisor.Set("vm2", DomainState.Paused); // The call of the earlier process comes late.
        while (_hypervisor.Get("vm2") != DomainState.Running)
            await Task.Delay(5, _patience.Token);
        _hypervisor.Set("vm2", DomainState.Stopped);
        Assert.False(Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync()).Commanded);
    }

    [Fact]
    public async Task A_guest_that_does_not_obey_is_destroyed_after_its_grace()
    {
        await StartAsync();
        _hypervisor.Obedient = false;
        _runner.Stop(300);
        Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync());
        Assert.Contains("destroy", _hypervisor.Calls);
    }

    [Fact]
    public async Task A_lost_lease_pauses_and_a_new_one_resumes_and_the_guard_follows()
    {
        await StartAsync();
        _runner.Pause();
        await _guard.SeeAsync(GuardedPhase.Paused, _patience.Token);
        Assert.Equal(DomainState.Paused, _hypervisor.Get("vm1"));
        _runner.Resume();
        await _guard.SeeAsync(GuardedPhase.Running, _patience.Token);
        // The guard is told before the domain goes on: wait for the call itself.
        while (_hypervisor.Get("vm1") != DomainState.Running)
            await Task.Delay(5, _patience.Token);
    }

    [Fact]
    public async Task A_vm_that_ends_by_itself_is_reported_once_with_the_reason()
    {
        await StartAsync();
        _hypervisor.Set("vm1", DomainState.Stopped);
        var stopped = Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync());
        Assert.False(stopped.Commanded);
        Assert.False(stopped.Clean);
        Assert.Contains("crashed", stopped.Reason);
    }

    [Fact]
    public async Task A_refused_start_is_a_failure_with_the_hypervisors_words()
    {
        _hypervisor.Instead["start"] = new HypervisorAnswer(CallOutcome.Refused, "no such emulator");
        _runner.Start();
        Assert.Contains("no such emulator", Assert.IsType<RoleInput.WorkloadFailed>(await ReportAsync()).Reason);
        // Made certain by a stop, as the role machine does.
        _runner.Stop(0);
        Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync());
    }

    [Fact]
    public async Task A_start_of_unknown_outcome_that_did_start_counts_as_started()
    {
        _hypervisor.Instead["start"] = new HypervisorAnswer(CallOutcome.Unknown, "no answer in time");
        _hypervisor.StartsLate = "vm1";
        _runner.Start();
        Assert.IsType<RoleInput.WorkloadStarted>(await ReportAsync());
    }

    [Fact]
    public async Task A_vm_left_over_by_an_earlier_process_is_ended_before_anything_else()
    {
        _hypervisor.Set("vm1", DomainState.Running);
        Assert.True(await WorkloadRunner.ClearAsync(_hypervisor, "vm1", WorkloadRunner.ClearPatience, _patience.Token));
        Assert.Equal(DomainState.Stopped, _hypervisor.Get("vm1"));
        Assert.False(await WorkloadRunner.ClearAsync(_hypervisor, "vm1", WorkloadRunner.ClearPatience, _patience.Token));
    }

    [Fact]
    public async Task A_leftover_that_cannot_be_ended_is_a_reason_and_not_a_silent_wait()
    {
        _hypervisor.Set("vm1", DomainState.Running);
        _hypervisor.Instead["destroy"] = new HypervisorAnswer(CallOutcome.Unknown, "no answer in time");
        var fault = await Assert.ThrowsAsync<IOException>(
            () => WorkloadRunner.ClearAsync(_hypervisor, "vm1", TimeSpan.FromMilliseconds(200), _patience.Token));
        Assert.Contains("vm1", fault.Message);
    }

    [Fact]
    public async Task A_lease_that_ended_on_the_way_to_the_start_starts_nothing()
    {
        _hypervisor.Before = call =>
        {
            if (call == "define")
                _runner.Lease(BootClock.NowMs);
        };
        _runner.Start();
        Assert.Contains("lease", Assert.IsType<RoleInput.WorkloadFailed>(await ReportAsync()).Reason);
        Assert.DoesNotContain("start", _hypervisor.Calls);
    }

    [Fact]
    public async Task A_lease_that_ended_on_the_way_to_a_resume_resumes_nothing()
    {
        await StartAsync();
        _runner.Pause();
        await _guard.SeeAsync(GuardedPhase.Paused, _patience.Token);
        _runner.Lease(BootClock.NowMs);
        _runner.Resume();
        await Task.Delay(300, _patience.Token);
        Assert.DoesNotContain("resume", _hypervisor.Calls);
        Assert.Equal(GuardedPhase.Paused, _guard.Domains["vm1"].Phase);

        _runner.Lease(long.MaxValue);
        while (_hypervisor.Get("vm1") != DomainState.Running)
            await Task.Delay(5, _patience.Token);
    }

    [Fact]
    public async Task A_resume_of_unknown_outcome_is_guarded_as_running_and_tried_again()
    {
        await StartAsync();
        _runner.Pause();
        await _guard.SeeAsync(GuardedPhase.Paused, _patience.Token);
        _hypervisor.Instead["resume"] = new HypervisorAnswer(CallOutcome.Unknown, "no answer in time");
        _runner.Resume();
        while (_hypervisor.Calls.Count(call => call == "resume") < 3)
            await Task.Delay(5, _patience.Token);
        Assert.DoesNotContain(GuardedPhase.Paused, _guard.Said.SkipWhile(said => said.Phase != GuardedPhase.Paused).Skip(1).Select(said => said.Phase));

        _hypervisor.Instead.Clear();
        while (_hypervisor.Get("vm1") != DomainState.Running)
            await Task.Delay(5, _patience.Token);
    }

    [Fact]
    public async Task A_domain_that_the_hypervisor_will_let_go_on_by_itself_does_not_count_as_paused()
    {
        await StartAsync();
        _hypervisor.PausedReason = "starting up";
        _runner.Pause();
        while (_hypervisor.Calls.Count(call => call == "suspend") < 3)
            await Task.Delay(5, _patience.Token);
        Assert.Equal(GuardedPhase.Running, _guard.Domains["vm1"].Phase);
        _hypervisor.PausedReason = "user";
        await _guard.SeeAsync(GuardedPhase.Paused, _patience.Token);
    }

    [Fact]
    public async Task A_paused_vm_that_somebody_resumes_is_guarded_as_running_and_paused_again()
    {
        await StartAsync();
        _runner.Pause();
        await _guard.SeeAsync(GuardedPhase.Paused, _patience.Token);
        var before = _guard.Said.Count;
        _hypervisor.Set("vm1", DomainState.Running);
        while (_hypervisor.Get("vm1") != DomainState.Paused)
            await Task.Delay(5, _patience.Token);
        Assert.Contains(GuardedPhase.Running, _guard.Said.Skip(before).Select(said => said.Phase));
    }

    [Fact]
    public async Task A_vm_killed_before_it_was_paused_is_not_paused_after_its_next_start()
    {
        await StartAsync();
        _hypervisor.Instead["suspend"] = new HypervisorAnswer(CallOutcome.Unknown, "no answer in time");
        _runner.Pause();
        while (!_hypervisor.Calls.Contains("suspend"))
            await Task.Delay(5, _patience.Token);
        _hypervisor.Set("vm1", DomainState.Stopped);
        Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync());
        _hypervisor.Instead.Clear();
        var suspends = _hypervisor.Calls.Count(call => call == "suspend");

        await StartAsync();
        await Task.Delay(700, _patience.Token);
        Assert.Equal(suspends, _hypervisor.Calls.Count(call => call == "suspend"));
        Assert.Equal("running", _runner.State);
    }

    [Fact]
    public async Task A_start_of_unknown_outcome_is_guarded_until_it_was_made_certain()
    {
        _hypervisor.Instead["start"] = new HypervisorAnswer(CallOutcome.Unknown, "no answer in time");
        _runner.Start();
        Assert.IsType<RoleInput.WorkloadFailed>(await ReportAsync());
        _hypervisor.Set("vm1", DomainState.Stopped);
        await Task.Delay(300, _patience.Token);
        Assert.Equal(GuardedPhase.Starting, _guard.Domains["vm1"].Phase);
        Assert.False(_reports.Reader.TryRead(out _));

        _runner.Stop(0);
        Assert.True(Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync()).Commanded);
    }

    [Fact]
    public async Task A_pause_that_the_hypervisor_does_after_the_lease_is_back_is_undone()
    {
        await StartAsync();
        var slow = new TaskCompletionSource();
        _hypervisor.After["suspend"] = slow.Task;
        _runner.Pause();
        while (!_hypervisor.Calls.Contains("suspend"))
            await Task.Delay(5, _patience.Token);
        _runner.Resume();
        await Task.Delay(200, _patience.Token);
        Assert.DoesNotContain("resume", _hypervisor.Calls); // It would be overtaken by the pause.
        slow.SetResult();
        while (!_hypervisor.Calls.Contains("resume") || _hypervisor.Get("vm1") != DomainState.Running)
            await Task.Delay(5, _patience.Token);
        Assert.Equal("running", _runner.State);
    }

    [Fact]
    public async Task A_pause_without_an_answer_does_not_keep_a_stop_waiting()
    {
        await StartAsync();
        _hypervisor.After["suspend"] = new TaskCompletionSource().Task;
        _runner.Pause();
        while (!_hypervisor.Calls.Contains("suspend"))
            await Task.Delay(5, _patience.Token);
        _runner.Stop(0);
        Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync());
    }

    [Fact]
    public async Task A_vm_that_the_guard_has_halted_is_shown_as_paused_and_killed_by_a_stop()
    {
        await StartAsync();
        _hypervisor.Halted["vm1"] = true;
        _hypervisor.After["suspend"] = new TaskCompletionSource().Task;
        _runner.Pause();
        while (_runner.State != "paused")
            await Task.Delay(5, _patience.Token);
        Assert.Equal(GuardedPhase.Running, _guard.Domains["vm1"].Phase); // For the guard it is not paused: it stays halted.
        _runner.Stop(0);
        Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync());
        Assert.Contains("kill", _hypervisor.Calls);
    }

    [Fact]
    public async Task A_vm_that_survives_its_kill_is_a_case_for_fencing_unless_this_host_holds_its_io()
    {
        var fencing = new RecordedFencing();
        var held = true;
        _hypervisor.Set("vm3", DomainState.Running);
        _hypervisor.Instead["destroy"] = new HypervisorAnswer(CallOutcome.Refused, "Device or resource busy");
        await using var runner = new WorkloadRunner(
            "c1/vm3", "vm3", _hypervisor, _guard, guardGraceMs: 50, _ => Task.FromResult(Definition), input => _reports.Writer.TryWrite(input),
            static (_, _) => { }, () => BootClock.NowMs, new GuardedDomain("vm3", long.MaxValue, GuardedPhase.Running))
        {
            Fencing = fencing,
            IoIsHeld = () => Volatile.Read(ref held),
        };
        runner.Stop(0);
        while (_hypervisor.Calls.Count(static call => call == "kill") < 3)
            await Task.Delay(5, _patience.Token);
        Assert.Empty(fencing.Since);
        Volatile.Write(ref held, false);
        while (fencing.Since.Count < 3)
            await Task.Delay(5, _patience.Token);
        Assert.Single(fencing.Since.Distinct()); // The time runs from the first kill that nothing excuses.
        Assert.True(fencing.Stuck);
        _hypervisor.Set("vm3", DomainState.Stopped);
        Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync());
        Assert.False(fencing.Stuck);
    }

    [Fact]
    public async Task A_stop_that_is_taken_back_while_the_vm_is_destroyed_leaves_no_case_for_fencing()
    {
        var fencing = new RecordedFencing();
        var destroying = new TaskCompletionSource();
        _hypervisor.Set("vm3", DomainState.Running);
        _hypervisor.After["destroy"] = destroying.Task;
        await using var runner = new WorkloadRunner(
            "c1/vm3", "vm3", _hypervisor, _guard, guardGraceMs: 50, _ => Task.FromResult("<domain><name>vm3</name></domain>"), input => _reports.Writer.TryWrite(input),
            static (_, _) => { }, () => BootClock.NowMs, new GuardedDomain("vm3", long.MaxValue, GuardedPhase.Running))
        {
            Fencing = fencing,
        };
        runner.Stop(0);
        while (!_hypervisor.Calls.Contains("destroy"))
            await Task.Delay(5, _patience.Token);
        runner.Lease(long.MaxValue);
        runner.Start();
        _hypervisor.Set("vm3", DomainState.Stopped);
        destroying.SetResult();
        Assert.IsType<RoleInput.WorkloadStarted>(await ReportAsync());
        Assert.NotEmpty(fencing.Since);
        Assert.False(fencing.Stuck);
    }

    [Fact]
    public async Task A_vm_does_not_start_without_the_watchdog_that_is_required_and_starts_when_it_is_there()
    {
        var fencing = new RecordedFencing { Refusal = "no watchdog" };
        await using var runner = new WorkloadRunner(
            "c1/vm3", "vm3", _hypervisor, _guard, guardGraceMs: 50, _ => Task.FromResult("<domain><name>vm3</name></domain>"), input => _reports.Writer.TryWrite(input),
            static (_, _) => { }, () => BootClock.NowMs)
        {
            Fencing = fencing,
        };
        runner.Lease(long.MaxValue);
        runner.Start();
        while (fencing.Asked < 3)
            await Task.Delay(5, _patience.Token);
        Assert.DoesNotContain("start", _hypervisor.Calls);
        fencing.Refusal = null;
        Assert.IsType<RoleInput.WorkloadStarted>(await ReportAsync());
    }

    private sealed class RecordedFencing : IHostFencing
    {
        private int _asked;

        public ConcurrentQueue<long> Since { get; } = new();

        public volatile bool Stuck;

        public volatile string? Refusal;

        public int Asked => Volatile.Read(ref _asked);

        public void CannotStop(string domain, long sinceMs)
        {
            Stuck = true;
            Since.Enqueue(sinceMs);
        }

        public void Stops(string domain) => Stuck = false;

        public string? RefusesStart()
        {
            Interlocked.Increment(ref _asked);
            return Refusal;
        }
    }

    [Fact]
    public async Task A_vm_given_up_has_no_grace_with_the_guard()
    {
        await StartAsync();
        _runner.Lease(0);
        Assert.Equal(0, _guard.Domains["vm1"].UntilMs);
    }

    [Fact]
    public async Task A_start_waits_for_the_end_of_the_killed_process_and_says_so()
    {
        _hypervisor.Set("vm1", DomainState.Running);
        _hypervisor.Exiting["vm1"] = true;
        _runner.Start();
        while (_runner.Waiting is null)
            await Task.Delay(5, _patience.Token);
        Assert.DoesNotContain("start", _hypervisor.Calls);
        Assert.False(_reports.Reader.TryRead(out _));

        _hypervisor.Set("vm1", DomainState.Stopped);
        _hypervisor.Exiting.Clear();
        Assert.IsType<RoleInput.WorkloadStarted>(await ReportAsync());
        Assert.Null(_runner.Waiting);
    }

    [Fact]
    public async Task A_start_that_waits_for_a_killed_process_is_given_up_by_a_stop()
    {
        _hypervisor.Set("vm1", DomainState.Running);
        _hypervisor.Exiting["vm1"] = true;
        _runner.Start();
        while (_runner.Waiting is null)
            await Task.Delay(5, _patience.Token);
        _runner.Stop(60_000);
        Assert.True(Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync()).Commanded);
        Assert.DoesNotContain("start", _hypervisor.Calls);
    }

    [Fact]
    public async Task A_guest_that_shut_itself_down_is_no_crash_although_the_hypervisor_hears_of_it_late()
    {
        await StartAsync();
        _hypervisor.StoppedReason = "shutdown";
        _hypervisor.Exiting["vm1"] = true;
        await Task.Delay(100, _patience.Token);
        _hypervisor.Set("vm1", DomainState.Running);
        await Task.Delay(100, _patience.Token);
        _hypervisor.Set("vm1", DomainState.Stopped);
        Assert.True(Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync()).Clean);
    }

    [Fact]
    public async Task A_vm_that_its_hypervisor_pauses_for_want_of_room_is_no_crash_and_goes_on_when_there_is_room()
    {
        await StartAsync();
        FillDisk();
        while (_hypervisor.Calls.Count(call => call == "resume") < 2)
            await Task.Delay(5, _patience.Token);
        Assert.Equal("paused", _runner.State);
        Assert.Equal("vda: no space", _runner.Hold!.DiskErrors);
        Assert.Contains("no space", _runner.Waiting);
        Assert.Equal(GuardedPhase.Running, _guard.Domains["vm1"].Phase); // It may execute at any moment: the guard watches its lease.

        _hypervisor.Instead.Clear();
        while (_runner.Hold is not null)
            await Task.Delay(5, _patience.Token);
        Assert.Equal(("running", DomainState.Running), (_runner.State, _hypervisor.Get("vm1")));
        Assert.Null(_runner.Waiting);
        Assert.Equal(["vm.held", "vm.goes-on"], _noted.Select(note => note.Kind));
        Assert.False(_reports.Reader.TryRead(out _), "nothing of this is a stop, a failure or a start");
    }

    [Fact]
    public async Task A_vm_without_room_is_not_resumed_while_a_pause_is_wanted_nor_without_a_lease()
    {
        await StartAsync();
        _runner.Lease(BootClock.NowMs); // Over.
        FillDisk();
        while (_runner.Hold is null)
            await Task.Delay(5, _patience.Token);
        await Task.Delay(1_500, _patience.Token); // Longer than the pause before the first try.
        _runner.Pause();
        await _guard.SeeAsync(GuardedPhase.Paused, _patience.Token);
        _runner.Lease(long.MaxValue);
        await Task.Delay(1_500, _patience.Token);
        Assert.DoesNotContain("resume", _hypervisor.Calls);

        _runner.Resume();
        while (!_hypervisor.Calls.Contains("resume"))
            await Task.Delay(5, _patience.Token);
    }

    [Fact]
    public async Task A_vm_that_somebody_else_has_paused_is_shown_and_left_alone_also_after_a_lost_lease()
    {
        await StartAsync();
        _hypervisor.PausedReason = "user";
        _hypervisor.Set("vm1", DomainState.Paused);
        while (_runner.Hold is null)
            await Task.Delay(5, _patience.Token);
        Assert.Equal(("paused", false), (_runner.State, _runner.Hold.IsIoError));
        _runner.Pause();
        await _guard.SeeAsync(GuardedPhase.Paused, _patience.Token);
        _runner.Resume();
        await _guard.SeeAsync(GuardedPhase.Running, _patience.Token);
        await Task.Delay(1_500, _patience.Token);
        Assert.DoesNotContain("resume", _hypervisor.Calls);
        Assert.Equal("paused", _runner.State);

        _hypervisor.Set("vm1", DomainState.Running);
        while (_runner.Hold is not null)
            await Task.Delay(5, _patience.Token);
        Assert.Equal("running", _runner.State);
    }

    [Fact]
    public async Task A_stop_of_a_vm_without_room_tries_once_more_and_does_not_wait_for_a_guest_that_cannot_obey()
    {
        await StartAsync();
        _hypervisor.Obedient = false;
        FillDisk();
        while (_runner.Hold is null)
            await Task.Delay(5, _patience.Token);
        _runner.Stop(60_000);
        Assert.True(Assert.IsType<RoleInput.WorkloadStopped>(await ReportAsync()).Commanded);
        Assert.Equal(["resume", "destroy"], _hypervisor.Calls.Where(call => call is "resume" or "destroy").Take(2));
        Assert.Null(_runner.Hold);
    }

    public async ValueTask DisposeAsync()
    {
        await _runner.DisposeAsync();
        _patience.Dispose();
    }

    /// <summary>As QEMU does with a disk that has no room: paused, and after a resume paused again at once.</summary>
    private void FillDisk()
    {
        _hypervisor.DiskErrors = "vda: no space";
        _hypervisor.PausedReason = "I/O error";
        _hypervisor.Instead["resume"] = new HypervisorAnswer(CallOutcome.Done, "");
        _hypervisor.Set("vm1", DomainState.Paused);
    }

    private async Task StartAsync()
    {
        _runner.Start();
        Assert.IsType<RoleInput.WorkloadStarted>(await ReportAsync());
    }

    private async Task<RoleInput> ReportAsync() => await _reports.Reader.ReadAsync(_patience.Token);
}

/// <summary>Remembers what a guard would have been told.</summary>
internal sealed class FakeGuard : IGuard
{
    private readonly Lock _gate = new();
    private readonly List<GuardedDomain> _said = [];
    private readonly SemaphoreSlim _changed = new(0);

    public ConcurrentDictionary<string, GuardedDomain> Domains { get; } = new();

    public IReadOnlyList<GuardedDomain> Said
    {
        get
        {
            lock (_gate)
                return [.. _said];
        }
    }

    public void Lease(GuardedDomain domain)
    {
        lock (_gate)
            _said.Add(domain);
        Domains[domain.Domain] = domain;
        _changed.Release();
    }

    public void Forget(string domain)
    {
        Domains.TryRemove(domain, out _);
        _changed.Release();
    }

    public async Task SeeAsync(GuardedPhase phase, CancellationToken cancel)
    {
        while (!Domains.Values.Any(domain => domain.Phase == phase))
            await _changed.WaitAsync(cancel);
    }
}
