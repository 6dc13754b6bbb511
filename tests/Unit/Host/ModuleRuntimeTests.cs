using System.Collections.Concurrent;
using System.Collections.Immutable;
using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Hypervisor;
using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Volumes;
using Pollux.HostProtocol;

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
    private readonly ConcurrentQueue<string> _steps = new();
    private readonly Guid _incarnation = Guid.NewGuid();
    private readonly Surroundings _around;
    private readonly ModuleRuntime _runtime;
    private long _nowMs = 1_000_000;

    public ModuleRuntimeTests()
    {
        File.WriteAllText(Path.Combine(_directory, "vm1.xml"), "<domain><name>vm1</name></domain>");
        _around = new Surroundings(this);
        var record = new AuthorityRecord(_incarnation, 1, null, [Self]);
        _runtime = new ModuleRuntime(new ModuleRuntimeOptions
        {
            Module = Module,
            Directory = _directory,
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
        var trace = _runtime.Observe(null).Events.Last(entry => entry.Kind == "vm.started").TraceId;
        _around.Mounted!.Write(2, 0, new byte[1], default);
        _around.Mounted.Write(2, 0, new byte[1], default);
        await UntilAsync(() => _runtime.Observe(null).Events.Any(entry => entry.Kind == "guest.first-write"), "the event");
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
        _around.Record = record;
        _runtime.Put(new RoleInput.Desired(true));
        for (var sequence = 1; sequence <= 5; sequence++)
        {
            _runtime.Put(new RoleInput.BeaconReceived(new Beacon(
                Guid.Parse("11111111-1111-4111-8111-111111111111"), sequence, Role.Prim, true, DataState.UpToDate, record, false, false, false, true)));
            await UntilAsync(() => _around.Answered >= sequence, "the answer");
            Interlocked.Add(ref _nowMs, 100);
        }

        await UntilAsync(() => _runtime.View.Role == Role.Second, "SECOND");
        await UntilAsync(() =>
        {
            Interlocked.Add(ref _nowMs, 100);
            _runtime.Put(new RoleInput.Tick());
            return _runtime.View is { Role: Role.Alone, Ready: true };
        }, "ALONE");
        Assert.Equal(DomainState.Running, _hypervisor.Get("vm1"));
        var takeover = Assert.Single(_around.Asked, asked => asked.Change == RecordChange.Takeover);
        var trace = _runtime.Observe(null).Events.Single(entry => entry.Kind == "vm.started").TraceId;
        Assert.Contains(trace!, takeover.TraceParent);
    }

    public async ValueTask DisposeAsync()
    {
        await _runtime.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
        _patience.Dispose();
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
    private async Task UntilAsync(Func<bool> reached, string what)
    {
        while (!reached())
        {
            if (_patience.IsCancellationRequested)
                Assert.Fail($"Never: {what}. {_runtime.View}; {string.Join(", ", _steps)}");
            Interlocked.Add(ref _nowMs, 5);
            _runtime.Put(new RoleInput.Tick());
            await Task.Delay(2);
        }
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

        public string? ServeFault { get; set; }

        public long Answered;

        public ConcurrentQueue<(RecordChange Change, string? TraceParent)> Asked { get; } = new();

        public IModuleVolume? Mounted { get; private set; }

        public SafeFileHandle Directory => throw new NotSupportedException();

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

        public Task StopFollowingAsync() => Step("stop following");

        public Task OpenAsync(string explanation) => Step("open");

        public IVolumeCompletions NewCompletions() => null!;

        public Task ServeAsync(IModuleVolume volume)
        {
            Mounted = volume;
            return Step("mount");
        }

        public Task CoverAsync() => Step("cover");

        public Task CloseAsync() => Step("close");

        public void Explain(string explanation)
        {
        }

        public void Send(string module, Beacon beacon)
        {
        }

        public void Answer(string module, BeaconAnswer answer) => Interlocked.Exchange(ref Answered, answer.BeaconSequence);

        public void Changed()
        {
        }

        /// <summary>An arbiter that grants everything whose epoch is right.</summary>
        public void Ask(string module, ArbiterRequest request, long deadlineMs, string? traceParent)
        {
            Asked.Enqueue((request.Change, traceParent));
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

        public int Lookup(ulong parent, ReadOnlySpan<byte> name, out DataPlane.Storage.ObjectAttributes attributes) => throw new NotSupportedException();
        public void Forget(ulong obj, ulong count) => throw new NotSupportedException();
        public int GetAttributes(ulong obj, out DataPlane.Storage.ObjectAttributes attributes) => throw new NotSupportedException();
        public int ReadLink(ulong obj, Span<byte> target, out int length) => throw new NotSupportedException();
        public int Open(ulong obj, int flags, out ulong handle) => throw new NotSupportedException();
        public void Close(ulong handle) => throw new NotSupportedException();
        public int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count) => throw new NotSupportedException();
        public int Seek(ulong handle, long offsetBytes, int whence, out long result) => throw new NotSupportedException();
        public int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit) => throw new NotSupportedException();
        public void Reference(ulong obj) => throw new NotSupportedException();
        public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length) => throw new NotSupportedException();
        public int ListXattr(ulong obj, Span<byte> names, out int length) => throw new NotSupportedException();
        public int StatFs(out VolumeSpace space) => throw new NotSupportedException();
        public void Flush(ulong obj, bool dataOnly, OperationTag tag) => throw new NotSupportedException();
        public void Mutate(DataPlane.Storage.Mutation mutation, Action<int, DataPlane.Storage.ObjectAttributes> completed) => throw new NotSupportedException();

        private Task Step(string name)
        {
            test._steps.Enqueue(name);
            return Task.CompletedTask;
        }
    }
}
