using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Telemetry;
using Pollux.DataPlane.Volumes;
using Pollux.HostProtocol;
using Pollux.Tests.Unit.Checkers;

namespace Pollux.Tests.Unit.Hosts;

/// <summary>The production role machine in its runtime, with everything around it played by the test on a clock of its own.</summary>
public sealed class ModuleRuntimeTests : IAsyncDisposable
{
    private const string Self = "c1/a";
    private const string Peer = "c1/b";
    private const string Module = "c1/vm1";

    private static readonly RoleTimings Timings = new(2_000);
    private readonly CancellationTokenSource _patience = new(TimeSpan.FromSeconds(60));
    private readonly string _directory = Directory.CreateTempSubdirectory("pollux-runtime-").FullName;
    private readonly FakeHypervisor _hypervisor = new();
    private readonly FakeGuard _guard = new();
    private readonly FakeProbe _probe = new();
    private readonly ConcurrentQueue<string> _steps = new();
    private readonly Guid _incarnation = Guid.NewGuid();
    private readonly Surroundings _around;
    private readonly ModuleRuntime _runtime;
    private readonly StartGate _starts;
    private long _nowMs = 1_000_000;
    private long _lastBeaconMs;
    private long _beacon;

    public ModuleRuntimeTests()
    {
        File.WriteAllText(Path.Combine(_directory, "vm1.xml"), "<domain><name>vm1</name></domain>");
        _around = new Surroundings(this);
        _starts = new StartGate(() => Interlocked.Read(ref _nowMs));
        var record = new AuthorityRecord(_incarnation, 1, null, [Self]);
        _runtime = new ModuleRuntime(new ModuleRuntimeOptions
        {
            Module = Module,
            Directories = [_directory],
            Vm = new VmSpec("vm1", "vm1.xml"),
            Self = Self,
            Peer = Peer,
            Timings = Timings,
            Incarnation = Guid.NewGuid(),
            LostPower = false,
            State = _around,
            Recovered = new LocalState(record, DataState.UpToDate, Guid.NewGuid(), Guid.Empty, false),
            Front = _around,
            Engine = (_, bases) => _around.With(bases),
            Hypervisor = _hypervisor,
            Guard = _guard,
            Links = _around,
            Starts = _starts,
            Probe = _probe,
            NowMs = () => Interlocked.Read(ref _nowMs),
        });
        _around.Runtime = _runtime;
        _around.Record = record;
        _runtime.Start();
    }

    [Fact]
    public async Task The_only_member_takes_over_serves_and_starts_its_vm_in_this_order()
    {
        await RunAloneAsync();
        Assert.Equal(["save", "serve", "mount"], _steps.Distinct().Take(3));
        Assert.Equal(DomainState.Running, _hypervisor.Get("vm1"));
        Assert.Equal(long.MaxValue, _guard.Domains["vm1"].UntilMs);
        var observed = _runtime.Observe(null);
        Assert.Equal(("ALONE", true, "running", 2L), (observed.Role, observed.Ready, observed.VmState, observed.Record.Epoch));
        Assert.Contains(observed.Problems, problem => problem is { Code: "role.alone", Action.Length: > 0 });
        var kinds = observed.Events.Select(entry => entry.Kind).ToArray();
        Assert.Contains("takeover.asked", kinds);
        Assert.Contains("vm.started", kinds);
        Assert.NotNull(observed.Events.Last(entry => entry.Kind == "vm.started").TraceId);
    }

    [Fact]
    public async Task A_checker_that_fails_restarts_the_vm_and_does_not_while_checkers_are_off_or_the_vm_is_paused_by_somebody()
    {
        _runtime.SetCheckers([new CheckerMessage("web", "tcp", "192.0.2.1:80", 1_000, 500, 2, 0, "restart"), new CheckerMessage("odd", "http", "x", 1_000, 500, 1, 0, "restart")]);
        await RunAloneAsync();
        await UntilAsync(() => Checker().State == "well", "well");
        Assert.Equal("unable", _runtime.Observe(null).Checkers!.Value.Single(one => one.Name == "odd").State);
        Assert.Contains(_runtime.Observe(null).Problems, one => one.Code == "checker.unable");

        _runtime.Put(new RoleInput.Desired(true) { Policy = new ModulePolicy { ChecksOff = true } });
        await UntilAsync(() => Checker().State == "off", "off");
        _probe.Fault = "no answer";
        var tests = _probe.Tests;
        await AdvanceAsync(10_000, 100);
        Assert.Equal(tests, _probe.Tests);

        _hypervisor.Set("vm1", DomainState.Paused);
        await UntilAsync(() => _runtime.Observe(null).Problems.Any(one => one.Code == "vm.paused-by-others"), "paused by others");
        _runtime.Put(new RoleInput.Desired(true) { Policy = ModulePolicy.Default });
        await UntilAsync(() => Checker().State == "grace", "not off");
        await AdvanceAsync(5_000, 100);
        Assert.Equal(tests, _probe.Tests);
        Assert.DoesNotContain("shutdown vm1", _hypervisor.Calls);

        _hypervisor.Set("vm1", DomainState.Running);
        await UntilAsync(() => _runtime.Observe(null).Events.Any(one => one.Kind == "checker.begun"), "the restart");
        _probe.Fault = null;
        await UntilAsync(() => _runtime.Observe(null).Events.Any(one => one.Kind == "checker.done"), "its end");
        await UntilAsync(() => Checker().State == "well", "well again");
        Assert.Equal(DomainState.Running, _hypervisor.Get("vm1"));
        Assert.Contains(_runtime.Observe(null).Events, one => one.Kind == "checker.unwell" && one.Text.Contains("no answer", StringComparison.Ordinal));

        ObservedChecker Checker() => _runtime.Observe(null).Checkers!.Value.Single(one => one.Name == "web");
    }

    [Fact]
    public async Task A_definition_that_names_storage_outside_since_its_creation_starts_and_is_a_problem_until_it_is_corrected()
    {
        var file = Path.Combine(_directory, "vm1.xml");
        File.WriteAllText(file, "<domain><name>vm1</name><devices><disk type='file'><source file='/srv/x.img'/><target dev='vdb'/></disk></devices></domain>");
        await RunAloneAsync();
        Assert.Contains("disk vdb: /srv/x.img", Assert.Single(_runtime.Observe(null).Problems, one => one.Code == "vm.storage-outside").Cause);
        Assert.Contains(_runtime.Observe(null).Events, one => one.Kind == "vm.storage-outside");

        File.WriteAllText(file, $"<domain><name>vm1</name><devices><disk type='file'><source file='{_directory}/x.img'/><target dev='vdb'/></disk></devices></domain>");
        _runtime.Put(new RoleInput.Desired(false));
        await UntilAsync(() => _runtime.View is { Role: Role.Stop, Ready: true }, "the stop");
        await RunAloneAsync();
        Assert.DoesNotContain(_runtime.Observe(null).Problems, one => one.Code == "vm.storage-outside");
    }

    [Fact]
    public async Task A_vm_waits_for_its_turn_and_says_so_and_a_stop_takes_its_start_back()
    {
        for (var other = 0; other < StartGate.InFlightMax; other++)
            _starts.Ask($"c/other{other}", 1, () => { });
        _runtime.Put(new RoleInput.Desired(true));
        await UntilAsync(() => _runtime.Observe(null).Replication.WaitingFor?.Contains("c/other0", StringComparison.Ordinal) == true, "the wait shows");
        Assert.Equal(RoleCodes.WorkloadStarting.Code, _runtime.View.Code);
        Assert.NotEqual(DomainState.Running, _hypervisor.Get("vm1"));
        _runtime.Put(new RoleInput.Desired(false));
        await UntilAsync(() => _runtime.View is { Role: Role.Stop, Ready: true }, "the stop");
        _starts.Ended("c/other0");
        Assert.NotEqual(DomainState.Running, _hypervisor.Get("vm1"));

        _starts.Ask("c/other0", 1, () => { });
        _runtime.Put(new RoleInput.Desired(true));
        await UntilAsync(() => _starts.Waiting(Module) is not null, "it waits again");
        _starts.Ended("c/other1");
        await UntilAsync(() => _hypervisor.Get("vm1") == DomainState.Running, "the VM");
        await UntilAsync(() => _runtime.View is { Role: Role.Alone, Ready: true }, "ALONE");
        // It has given its place back.
        var next = false;
        _starts.Ask("c/next", 9, () => next = true);
        Assert.True(next);
    }

    [Fact]
    public async Task A_vm_that_its_hypervisor_pauses_for_want_of_room_is_a_problem_with_an_action_and_no_crash()
    {
        await RunAloneAsync();
        _hypervisor.DiskErrors = "vda: no space";
        _hypervisor.PausedReason = "I/O error";
        _hypervisor.Set("vm1", DomainState.Paused);
        await UntilAsync(() => _runtime.Observe(null).VmState == "paused", "the pause shows");
        var observed = _runtime.Observe(null);
        var problem = Assert.Single(observed.Problems, one => one.Code == "vm.io-paused");
        Assert.Contains("vda: no space", problem.Cause);
        Assert.Contains(_directory, problem.Action);
        Assert.Contains("vda: no space", observed.Replication.WaitingFor);
        Assert.Equal(("ALONE", true), (observed.Role, observed.Ready));
        Assert.Equal("vm.held", observed.Events[^1].Kind);
        Assert.DoesNotContain(observed.Events, entry => entry.Kind is "vm.stopped" or "vm.failed");
    }

    [Fact]
    public async Task Nothing_is_served_before_the_record_is_durable()
    {
        using var storing = new ManualResetEventSlim(false);
        _around.Storing = storing;
        _runtime.Put(new RoleInput.Desired(true));
        await UntilAsync(() => _around.Saving, "the first store");
        await AdvanceAsync(5_000, 100);
        Assert.DoesNotContain("serve", _steps);
        storing.Set();
        await UntilAsync(() => _runtime.View is { Role: Role.Alone, Ready: true }, "ALONE");
    }

    [Fact]
    public async Task The_first_write_of_the_guest_after_its_start_is_an_event_of_the_same_trace()
    {
        await RunAloneAsync();
        await UntilAsync(() => _runtime.Observe(null).Events.Any(entry => entry.Kind == "vm.started"), "the start's event");
        var trace = _runtime.Observe(null).Events.Last(entry => entry.Kind == "vm.started").TraceId;
        await UntilAsync(() =>
        {
            _around.Mounted!.Write(2, 0, new byte[1], default);
            return _runtime.Observe(null).Events.Any(entry => entry.Kind == "guest.first-write");
        }, "the event");
        _around.Mounted!.Write(2, 0, new byte[1], default);
        Assert.Equal(trace, Assert.Single(_runtime.Observe(null).Events, entry => entry.Kind == "guest.first-write").TraceId);
    }

    [Fact]
    public async Task A_crashed_vm_is_started_again()
    {
        await RunAloneAsync();
        _hypervisor.Set("vm1", DomainState.Stopped);
        await UntilAsync(() => _runtime.Observe(null).Events.Any(entry => entry.Kind == "vm.stopped"), "the crash");
        await UntilAsync(() => _hypervisor.Get("vm1") == DomainState.Running, "the restart");
    }

    [Fact]
    public async Task A_volume_that_cannot_be_served_is_a_visible_problem_and_starts_nothing()
    {
        _around.ServeFault = "disk on fire";
        _runtime.Put(new RoleInput.Desired(true));
        await UntilAsync(() => _runtime.Observe(null).Events.Any(entry => entry.Kind == "local.fault"), "the fault");
        Assert.Contains("disk on fire", _runtime.Observe(null).Events.Last(entry => entry.Kind == "local.fault").Text);
        Assert.DoesNotContain("start", _hypervisor.Calls);
    }

    [Fact]
    public async Task Leaving_stops_the_vm_then_the_engine_then_the_mounts()
    {
        await RunAloneAsync();
        await _runtime.DisposeAsync();
        Assert.Equal(DomainState.Stopped, _hypervisor.Get("vm1"));
        Assert.Equal(["stop serving", "stop following", "cover", "close"], _steps.Reverse().Take(4).Reverse());
        Assert.Empty(_guard.Domains);
    }

    [Fact]
    public async Task A_silent_primary_is_taken_over_in_one_trace_that_reaches_the_arbiter()
    {
        var record = new AuthorityRecord(_incarnation, 5, Peer, [Self, Peer]);
        await FollowAsync(record, 5);
        await UntilAsync(() =>
        {
            Interlocked.Add(ref _nowMs, 100);
            _runtime.Put(new RoleInput.Tick());
            return _runtime.View is { Role: Role.Alone, Ready: true };
        }, "ALONE");
        Assert.Equal(DomainState.Running, _hypervisor.Get("vm1"));
        var takeover = Assert.Single(_around.Asked, asked => asked.Change == RecordChange.Takeover);
        await UntilAsync(() => _runtime.Observe(null).Events.Any(entry => entry.Kind == "vm.started"), "the start's event");
        var trace = _runtime.Observe(null).Events.Single(entry => entry.Kind == "vm.started").TraceId;
        Assert.Contains(trace!, takeover.TraceParent);
    }

    [Fact]
    public async Task A_failover_is_one_trace_from_the_lost_beacon_to_the_guests_first_write()
    {
        using var spans = new Spans("Pollux.Roles", Module);
        var record = new AuthorityRecord(_incarnation, 5, Peer, [Self, Peer]);
        await FollowAsync(record, 5);
        var lastBeaconMs = _lastBeaconMs;
        await UntilAsync(() => _runtime.View is { Role: Role.Alone, Ready: true }, "ALONE", stepMs: 50);
        // The view is ahead of what notes it: a guest that writes once may be too early.
        await UntilAsync(() =>
        {
            _around.Mounted!.Write(2, 0, new byte[1], default);
            return spans.Ended.Any(span => span.OperationName == "failover");
        }, "the end of the failover");

        var root = Assert.Single(spans.Ended, span => span.OperationName == "failover");
        Assert.Equal(default, root.ParentSpanId);
        Assert.Equal(ActivityStatusCode.Unset, root.Status);
        var children = spans.Ended.Where(span => span.TraceId == root.TraceId && span != root).ToDictionary(span => span.OperationName);
        Assert.Equal(
            ["arbitration", "detection", "guest-first-write", "serve", "stop-following", "vm-start"], children.Keys.Order(StringComparer.Ordinal));
        Assert.All(children.Values, child => Assert.Equal(root.SpanId, child.ParentSpanId));
        Assert.Equal(BootClock.ToWall(lastBeaconMs).UtcDateTime, root.StartTimeUtc, TimeSpan.FromMilliseconds(500));
        Assert.Equal(
            root.StartTimeUtc + root.Duration, children["guest-first-write"].StartTimeUtc + children["guest-first-write"].Duration,
            TimeSpan.FromMilliseconds(100));
        Assert.Equal(children["arbitration"].Id, Assert.Single(_around.Asked, asked => asked.Change == RecordChange.Takeover).TraceParent);
    }

    [Fact]
    public async Task What_a_failover_asks_of_the_hypervisor_is_in_its_trace()
    {
        using var calls = new Spans("Pollux.Hypervisor", Module);
        using var roles = new Spans("Pollux.Roles", Module);
        await FollowAsync(new AuthorityRecord(_incarnation, 5, Peer, [Self, Peer]), 5);
        await UntilAsync(() => _runtime.View is { Role: Role.Alone, Ready: true }, "ALONE", stepMs: 50);
        await UntilAsync(() => roles.Ended.Any(span => span.OperationName == "vm-start"), "the start's span");
        Assert.Equal(["define", "start"], calls.Ended.Select(span => span.OperationName));
        var started = roles.Ended.Single(span => span.OperationName == "vm-start");
        Assert.All(calls.Ended, span => Assert.Equal((started.TraceId, started.SpanId), (span.TraceId, span.ParentSpanId)));
    }

    [Fact]
    public async Task A_failover_that_does_not_come_ends_its_trace()
    {
        using var spans = new Spans("Pollux.Roles", Module);
        var record = new AuthorityRecord(_incarnation, 5, Peer, [Self, Peer]);
        _around.Refuses = true;
        await FollowAsync(record, 5);
        await UntilAsync(() => _around.Asked.Any(asked => asked.Change == RecordChange.Takeover), "the takeover", stepMs: 50);
        _around.Record = record with { Epoch = 6 };
        await UntilAsync(() =>
        {
            SendBeacon(_around.Record);
            return _runtime.View.Role == Role.Second;
        }, "SECOND again");
        await UntilAsync(() => spans.Ended.Any(span => span.OperationName == "failover"), "the end of the failover");
        Assert.Equal(ActivityStatusCode.Error, Assert.Single(spans.Ended, span => span.OperationName == "failover").Status);
    }

    [Fact]
    public void A_host_that_ends_waits_for_its_leave_no_longer_than_the_service_manager_does_for_the_host()
    {
        Assert.Equal(TimeSpan.FromSeconds(68), ModuleRuntime.LeaveMax(new RoleTimings(RoleTimings.DetectionMsDefault)));
        Assert.True(ModuleRuntime.LeaveMax(new RoleTimings(600_000)) < TimeSpan.FromSeconds(120));
    }

    [Fact]
    public async Task A_second_that_is_shut_down_ends_when_its_stored_promise_was_heard()
    {
        var record = new AuthorityRecord(_incarnation, 5, Peer, [Self, Peer]);
        await FollowAsync(record, 5);
        var left = _runtime.LeaveAsync();
        await UntilAsync(() =>
        {
            SendBeacon(record);
            return _around.Sent is { PromisedEpoch: 5 };
        }, "the promise");
        Assert.Equal(5, _around.Saved!.PromisedEpoch);
        Assert.False(left.IsCompleted);
        SendBeacon(record, released: true);
        await UntilAsync(() => left.IsCompleted, "the end");
        Assert.Equal((Role.Stop, "second.leaving"), (_runtime.View.Role, _runtime.View.Code));
    }

    [Fact]
    public async Task A_primary_that_is_shut_down_need_not_wait()
    {
        await RunAloneAsync();
        await _runtime.LeaveAsync().WaitAsync(_patience.Token);
        Assert.True(_around.Sent!.Leaves);
    }

    [Fact]
    public async Task A_release_that_fails_is_tried_again_and_shown()
    {
        await RunAloneAsync();
        _around.CoverFaults = 2;
        _runtime.Put(new RoleInput.Desired(false));
        await UntilAsync(() => _steps.Contains("quiesce"), "the quiesce");
        _runtime.Put(new RoleInput.Quiesced());
        await UntilAsync(() => _runtime.View is { Role: Role.Stop, Ready: true }, "STOP");
        Assert.Contains("worker", Assert.Single(_runtime.Observe(null).Events, entry => entry.Kind == "local.fault").Text);
    }

    [Fact]
    public async Task A_replica_that_cannot_be_shut_in_order_does_not_end_the_failover()
    {
        var record = new AuthorityRecord(_incarnation, 5, Peer, [Self, Peer]);
        await FollowAsync(record, 5);
        _around.StopFollowingFaults = 1;
        await UntilAsync(() => _runtime.View is { Role: Role.Alone, Ready: true }, "ALONE", stepMs: 50);
        Assert.Contains("EIO", Assert.Single(_runtime.Observe(null).Events, entry => entry.Kind == "local.fault").Text);
    }

    [Fact]
    public async Task A_module_made_anew_while_its_former_one_is_left_is_prepared()
    {
        var desired = new DesiredModule(
            Module, ModulePhase.Active, _directory, null, Self, 2_000, false, new RecordMessage(_incarnation, 1, null, [Self]), null);
        var maker = new Maker(_runtime);
        var slot = new ModuleSlot(Module, Self, maker);
        await UntilAsync(() =>
        {
            slot.Reconcile(desired, _nowMs);
            return slot.Runtime is not null;
        }, "the runtime");
        Assert.True(slot.Reconcile(null, _nowMs));
        await UntilAsync(() =>
        {
            slot.Reconcile(desired with { Phase = ModulePhase.Preparing }, _nowMs);
            return maker.Prepared == 1;
        }, "the preparation");
        Assert.Equal(1, maker.Forgotten);
        Assert.False(slot.Gone);
    }

    [Fact]
    public async Task A_verdict_on_a_module_is_not_one_on_the_next_module_of_its_name()
    {
        var first = new DesiredModule(
            Module, ModulePhase.Preparing, _directory, null, Self, 2_000, false, new RecordMessage(_incarnation, 1, null, [Self]), null);
        var next = first with { Record = first.Record with { Incarnation = Guid.NewGuid() } };
        var maker = new Maker(_runtime);
        var slot = new ModuleSlot(Module, Self, maker);
        await UntilAsync(() => !slot.Reconcile(first, _nowMs), "the first verdict");
        Assert.NotNull(slot.Observe()!.Preparation);

        // The first was deleted and the next made between two looks: this host never saw the name without a module.
        maker.Preparing = new TaskCompletionSource<PreparationVerdict>();
        Assert.True(slot.Reconcile(next, _nowMs));
        Assert.Null(slot.Observe()!.Preparation);
        // A module that came and went while it was checked leaves its verdict to nobody.
        var last = first with { Record = first.Record with { Incarnation = Guid.NewGuid() } };
        var overtaken = maker.Preparing;
        maker.Preparing = null;
        Assert.True(slot.Reconcile(last, _nowMs));
        overtaken.SetResult(new PreparationVerdict(false, null));
        await UntilAsync(() => !slot.Reconcile(last, _nowMs), "the last verdict");
        Assert.True(slot.Observe()!.Preparation!.Accepted);
        Assert.Equal(3, maker.Prepared);
        Assert.False(slot.Reconcile(last, _nowMs));
        Assert.Equal(3, maker.Prepared);
    }

    public async ValueTask DisposeAsync()
    {
        await _runtime.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
        _patience.Dispose();
    }

    /// <summary>The peer is the primary, and this host answers its beacons.</summary>
    private async Task FollowAsync(AuthorityRecord record, int beacons)
    {
        _around.Record = record;
        _runtime.Put(new RoleInput.Desired(true));
        for (var i = 0; i < beacons; i++)
        {
            SendBeacon(record);
            await UntilAsync(() => _around.Answered >= _beacon, "the answer");
            Interlocked.Add(ref _nowMs, 100);
        }

        await UntilAsync(() => _runtime.View.Role == Role.Second, "SECOND");
    }

    private void SendBeacon(AuthorityRecord record, bool released = false)
    {
        _lastBeaconMs = Interlocked.Read(ref _nowMs);
        _runtime.Put(new RoleInput.BeaconReceived(new Beacon(
            Guid.Parse("11111111-1111-4111-8111-111111111111"), ++_beacon, Role.Prim, true, DataState.UpToDate, record, false, false, false, true) { PeerReleased = released }));
    }

    private async Task RunAloneAsync()
    {
        _runtime.Put(new RoleInput.Desired(true));
        await UntilAsync(() => _runtime.View is { Role: Role.Alone, Ready: true }, "ALONE");
    }

    private async Task AdvanceAsync(long ms, long stepMs)
    {
        for (long passed = 0; passed < ms; passed += stepMs)
        {
            Interlocked.Add(ref _nowMs, stepMs);
            _runtime.Put(new RoleInput.Tick());
            await Task.Yield();
        }
    }

    /// <summary>Lets the test's clock run until something is so.</summary>
    private async Task UntilAsync(Func<bool> reached, string what, long stepMs = 5)
    {
        while (!reached())
        {
            if (_patience.IsCancellationRequested)
                Assert.Fail($"Never: {what}. {_runtime.View}; {string.Join(", ", _steps)}");
            Interlocked.Add(ref _nowMs, stepMs);
            _runtime.Put(new RoleInput.Tick());
            await Task.Delay(2);
        }
    }

    private sealed class Maker(ModuleRuntime runtime) : IModuleMaker
    {
        public int Prepared { get; private set; }

        /// <summary>A check that is under way, in place of one that ends at once.</summary>
        public TaskCompletionSource<PreparationVerdict>? Preparing { get; set; }

        public int Forgotten { get; private set; }

        public Task<PreparationVerdict> PrepareAsync(DesiredModule desired)
        {
            Prepared++;
            return Preparing?.Task ?? Task.FromResult(new PreparationVerdict(true, null));
        }

        public Task<ModuleRuntime> OpenAsync(DesiredModule desired) => Task.FromResult(runtime);

        public void Forget(string module) => Forgotten++;

        public void Changed()
        {
        }
    }

    /// <summary>The ended spans of this test's module on this host; other tests make spans at the same time.</summary>
    private sealed class Spans : IDisposable
    {
        private readonly ActivityListener _listener;
        private readonly string _module;

        public Spans(string source, string module)
        {
            _module = module;
            _listener = new ActivityListener
            {
                ShouldListenTo = candidate => candidate.Name == source,
                Sample = static (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
                ActivityStopped = span =>
                {
                    if (_module.Equals(span.GetTagItem("pollux.module")))
                        Ended.Enqueue(span);
                },
            };
            ActivitySource.AddActivityListener(_listener);
        }

        public ConcurrentQueue<Activity> Ended { get; } = new();

        public void Dispose() => _listener.Dispose();
    }

    /// <summary>Engine, mounts, state and links in one, since the order among them is what is tested.</summary>
    private sealed class Surroundings(ModuleRuntimeTests test) : IReplicationEngine, IModuleFront, IModuleState, IModuleLinks, IModuleVolume
    {
        public event Action<string>? Failed
        {
            add { }
            remove { }
        }

        public ModuleRuntime Runtime { get; set; } = null!;

        public AuthorityRecord Record { get; set; } = AuthorityRecord.None;

        public ManualResetEventSlim? Storing { get; set; }

        public volatile bool Saving;

        public volatile bool Refuses;

        public volatile LocalState? Saved;

        public volatile Beacon? Sent;

        public volatile int CoverFaults;

        public volatile int StopFollowingFaults;

        public string? ServeFault { get; set; }

        public long Answered;

        public ConcurrentQueue<(RecordChange Change, string? TraceParent)> Asked { get; } = new();

        public IModuleVolume? Mounted { get; private set; }

        public IReadOnlyList<SafeFileHandle> Directories => throw new NotSupportedException();

        public IModuleVolume Volume => this;

        public ReplicationStatus Status => default;

        public Surroundings With(ISyncBases bases)
        {
            Assert.NotNull(bases.Current);
            return this;
        }

        public LocalState? Load() => null;

        public void Save(LocalState state)
        {
            Saving = true;
            Storing?.Wait();
            Saved = state;
            test._steps.Enqueue("save");
        }

        public Task ServeAsync(long epoch, bool peerIsMember, IVolumeCompletions completions, CancellationToken cancel)
        {
            if (ServeFault is { } fault)
                throw new IOException(fault);
            test._steps.Enqueue("serve");
            return Task.CompletedTask;
        }

        public Task StopServingAsync() => Step("stop serving");

        public Task FollowAsync(long epoch, CancellationToken cancel) => Step("follow");

        public Task StopFollowingAsync() =>
            StopFollowingFaults-- > 0 ? throw new IOException("EIO") : Step("stop following");

        public Task OpenAsync(string explanation) => Step("open");

        public IVolumeCompletions NewCompletions() => null!;

        public Task ServeAsync(IModuleVolume volume)
        {
            Mounted = volume;
            return Step("mount");
        }

        public Task SettleAsync() => Task.CompletedTask;

        public Task CoverAsync() =>
            CoverFaults-- > 0 ? throw new DataPlane.Fuse.FuseException("A worker did not return.") : Step("cover");

        public Task CloseAsync() => Step("close");

        public void Explain(string explanation)
        {
        }

        public void Send(string module, Beacon beacon) => Sent = beacon;

        public void Answer(string module, BeaconAnswer answer) => Interlocked.Exchange(ref Answered, answer.BeaconSequence);

        public void Changed()
        {
        }

        /// <summary>An arbiter that grants everything whose epoch is right.</summary>
        public void Ask(string module, ArbiterRequest request, long deadlineMs, string? traceParent)
        {
            Asked.Enqueue((request.Change, traceParent));
            if (Refuses && request.Change != RecordChange.Look)
            {
                Runtime.Put(new RoleInput.ArbiterAnswered(new ArbiterAnswer(request.OperationId, ArbiterOutcome.Refused, Record, "refused")));
                return;
            }

            if (request.Change == RecordChange.Takeover && request.ExpectedEpoch == Record.Epoch)
                Record = Record with { Epoch = Record.Epoch + 1, Primary = request.By, InSync = [request.By] };
            Runtime.Put(new RoleInput.ArbiterAnswered(new ArbiterAnswer(request.OperationId, ArbiterOutcome.Granted, Record, "")));
        }

        public void Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data, OperationTag tag)
        {
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;

        public void AttachPeer(long epoch, bool inSync) => test._steps.Enqueue("attach");

        public void DetachPeer(long epoch) => test._steps.Enqueue("detach");

        public void SetEpoch(long epoch) => test._steps.Enqueue("epoch");

        public void AllowResync(Guid syncBase) => test._steps.Enqueue("allow");

        public void ConfirmResynced(Guid syncBase) => test._steps.Enqueue("confirm");

        public void Freeze() => test._steps.Enqueue("freeze");

        public void Unfreeze() => test._steps.Enqueue("unfreeze");

        public void Quiesce() => test._steps.Enqueue("quiesce");

        public Task<string?> StartVerifyAsync(bool repair, long bytesPerSecondMax) => Task.FromResult<string?>("not played");

        public void SetVerifyLimit(long bytesPerSecondMax)
        {
        }

        public void StopVerify()
        {
        }

        public void SetResyncLimits(ResyncLimits limits) => test._steps.Enqueue($"limits {limits.BytesPerSecondMin} {limits.BytesPerSecondMax}");

        public int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes) => throw new NotSupportedException();
        public void Forget(ulong obj, ulong count) => throw new NotSupportedException();
        public int GetAttributes(ulong obj, out ObjectAttributes attributes) => throw new NotSupportedException();
        public int ReadLink(ulong obj, Span<byte> target, out int length) => throw new NotSupportedException();
        public int Open(ulong obj, int flags, out ulong handle) => throw new NotSupportedException();
        public void Close(ulong handle) => throw new NotSupportedException();
        public int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count) => throw new NotSupportedException();
        public int Seek(ulong handle, long offsetBytes, int whence, out long result) => throw new NotSupportedException();
        public int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit) => throw new NotSupportedException();
        public void Reference(ulong obj) => throw new NotSupportedException();
        public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length) => throw new NotSupportedException();
        public int ListXattr(ulong obj, Span<byte> names, out int length) => throw new NotSupportedException();
        public int StatFs(ulong obj, out VolumeSpace space) => throw new NotSupportedException();
        public void Flush(ulong obj, bool dataOnly, OperationTag tag) => throw new NotSupportedException();
        public void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed) => throw new NotSupportedException();

        private Task Step(string name)
        {
            test._steps.Enqueue(name);
            return Task.CompletedTask;
        }
    }
}
