using System.Net.Sockets;
using Pollux.DataPlane.Checkers;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Peers;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Telemetry;
using Pollux.DataPlane.Volumes;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>How a module is prepared and opened on this host.</summary>
public sealed partial class DataPlaneHost : IModuleMaker
{
    /// <summary>Interval at which the initial host repeats the size of its directory to a peer that may have to check its room.</summary>
    private static readonly TimeSpan ContentInterval = TimeSpan.FromMilliseconds(500);

    /// <summary>How long a preparation waits for the peer; the control plane gives up a creation after 20 s.</summary>
    private static readonly TimeSpan PeerWaitMax = TimeSpan.FromSeconds(15);

    void IModuleMaker.Changed() => _control.Changed();

    void IModuleMaker.Forget(string module)
    {
        _contentOfPeer.TryRemove(module, out _);
        var directory = StateDirectory(module);
        if (Directory.Exists(directory))
            Directory.Delete(directory, recursive: true);
    }

    async Task<PreparationVerdict> IModuleMaker.PrepareAsync(DesiredModule desired)
    {
        await Task.Yield();
        var holdsData = desired.InitialHost == _identity.Host;
        var others = _slots.Where(slot => slot.Key != desired.Module).SelectMany(slot => slot.Value.Directories).ToArray();
        var modules = _slots.Count(slot => slot.Key != desired.Module && slot.Value.Directories.Count > 0);
        IReadOnlyList<long> content = [];
        if (!holdsData)
        {
            var until = BootClock.NowMs + (long)PeerWaitMax.TotalMilliseconds;
            (Guid Record, IReadOnlyList<long> Bytes) told;
            while (!(_contentOfPeer.TryGetValue(desired.Module, out told) && told.Record == desired.Record.Incarnation) && BootClock.NowMs < until)
                await Task.Delay(ActingMs, _stop.Token).ConfigureAwait(false);
            content = told.Bytes;
            if (told.Record != desired.Record.Incarnation)
            {
                return new PreparationVerdict(false, new ObservedProblem("peer.unreachable", "The hosts do not reach each other",
                    "The module was not created; nothing was changed.",
                    $"{desired.InitialHost} has not told {_identity.Host} how much its directories hold. {_peers.Status}.",
                    $"Check the link between the hosts (port {_options.PeerPort}) and that the directories can be read there."));
            }
        }

        var question = new PreparationQuestion(
            desired.Module, desired.Directories, desired.Vm, holdsData, content, others, modules, ModulePreparation.ModulesMaxDefault);
        var verdict = await ModulePreparation.CheckAsync(question, _hypervisor, _stop.Token).ConfigureAwait(false);
        if (holdsData && verdict.Accepted)
            _ = TellContentAsync(desired);
        return verdict;
    }

    async Task<ModuleRuntime> IModuleMaker.OpenAsync(DesiredModule desired)
    {
        await Task.Yield();
        if (_peer is not { } peer)
            throw new ModuleOpenException("The peer of this host is not known yet.");
        var held = TakeHeld(desired);
        try
        {
            return await OpenAsync(desired, peer, held).ConfigureAwait(false);
        }
        catch
        {
            foreach (var mount in held ?? [])
                EndHeld(mount);
            throw; // It is tried again: without the users, who have got errors.
        }
    }

    /// <summary>The mounts of an earlier process, if all of the module's directories have theirs: with a part of them no user can go on.</summary>
    private HeldMount[]? TakeHeld(DesiredModule desired)
    {
        if (_earlier is not { } earlier)
            return null;
        var held = desired.Directories.Select((_, index) => earlier.Take(HeldMount.KeyOf(desired.Module, index))).ToArray();
        if (!held.Where((mount, index) => mount is null || CoveredDirectory.Resolve(desired.Directories[index]) != mount.Path).Any())
            return held!;
        foreach (var mount in held.OfType<HeldMount>())
            EndHeld(mount);
        return null;
    }

    /// <exception cref="IOException">It was killed and is there still. Its connections have ended, so its I/O is not held by this host.</exception>
    private async Task EndLeftoverAsync(string module, string domain)
    {
        var begunMs = BootClock.NowMs;
        try
        {
            if (await WorkloadRunner.ClearAsync(_hypervisor, domain, WorkloadRunner.ClearPatience, _stop.Token).ConfigureAwait(false))
                HostLog.Warn("modules", "a VM left over from an earlier process was ended", ("module", module), ("domain", domain));
            _fencing.Stops(domain);
        }
        catch (IOException)
        {
            _fencing.CannotStop(domain, begunMs);
            throw;
        }
    }

    private async Task<ModuleRuntime> OpenAsync(DesiredModule desired, PeerHost peer, HeldMount[]? held)
    {
        // Without its mount a VM has no disk any more: it is kept only with it.
        var keptVm = held is not null && desired.Vm is { } known && _hypervisor.EmulatorPid(known.Domain) is not null ? _earlier!.Domain(known.Domain) : null;
        if (desired.Vm is { } vm && keptVm is null)
            await EndLeftoverAsync(desired.Module, vm.Domain).ConfigureAwait(false);

        var stateDirectory = StateDirectory(desired.Module);
        Directory.CreateDirectory(stateDirectory);
        var state = new ModuleState(stateDirectory);
        var stored = state.Load();
        var recovered = stored ?? Initial(desired);
        var front = new ModuleFront(desired.Module, desired.Directories, Path.Combine(stateDirectory, "exchanges"), _guard, held);
        await front.OpenAsync(ModuleRuntime.CoverText(desired.Module, _identity.Host, "STOP", "it has just started.")).ConfigureAwait(false);
        if (stored is null)
        {
            foreach (var directory in front.Directories)
                ObjectStore.Release(directory);
            state.Save(recovered);
        }

        var incarnation = Guid.NewGuid();
        var timings = new RoleTimings(desired.DetectionMs);
        var plaintext = desired.Link == DesiredModule.PlaintextLink;
        var runtime = new ModuleRuntime(new ModuleRuntimeOptions
        {
            Module = desired.Module,
            Directories = desired.Directories,
            Vm = desired.Vm,
            Self = _identity.Host,
            Peer = peer.Host,
            Timings = timings,
            Incarnation = incarnation,
            // Noted in the stored states when the process started.
            LostPower = false,
            State = state,
            Recovered = recovered,
            VolumeHeld = held is not null,
            KeptVm = keptVm,
            Verifies = new VerifyFile(stateDirectory),
            History = new HistoryFile(stateDirectory),
            Front = front,
            Engine = (events, bases) => new ReplicationEngine(new ReplicationOptions
            {
                Module = desired.Module,
                PeerHost = peer.Host,
                Incarnation = incarnation,
                Timings = timings,
                StateDirectory = stateDirectory,
                OpenStore = () => ObjectStore.Open(front.Directories, new ObjectStoreOptions { KeepsUnlinked = front.HoldsUsers }),
                Dial = plaintext ? cancel => PlaintextLink.DialAsync(desired.Module, _dialler.DialAsync, _dialler.ConnectAsync, cancel) : _dialler.DialAsync,
                JudgeNetwork = _dialler.Judge,
                AllowsPlaintext = plaintext,
                Bases = bases,
                Events = events,
            }),
            Hypervisor = _hypervisor,
            Guard = _guard,
            Starts = _starts,
            Fencing = _fencing,
            Probe = new HostProbe(desired.Module, desired.Vm?.Domain, _hypervisor, Path.Combine(_options.DataDirectory, HostProbe.ScriptDirectory)),
            HostProblems = _fencing.Problems,
            Links = this,
            DescribeFallback = DescribeFallback,
            NowMs = () => BootClock.NowMs,
        });
        runtime.Start();
        HostLog.Info("modules", "opened", ("module", desired.Module), ("directories", string.Join(", ", desired.Directories)), ("state", recovered.DataState),
            ("record", recovered.Record));
        return runtime;
    }

    /// <summary>Mounts of an earlier process whose modules are gone from this host end; their VMs are the guard's to end.</summary>
    private void DropUnwanted(DesiredState desired)
    {
        if (_earlier is not { Mounts: { Count: > 0 } mounts })
            return;
        var wanted = desired.Modules.SelectMany(module => module.Directories.Select((_, index) => HeldMount.KeyOf(module.Module, index))).ToHashSet();
        foreach (var key in mounts.Where(key => !wanted.Contains(key)))
        {
            if (_earlier.Take(key) is { } held)
                EndHeld(held);
        }
    }

    private void EndHeld(HeldMount held)
    {
        DirectoryFront.End(held);
        _guard.Release(held.Key);
    }

    /// <summary>What a host knows of a module that it never had: the initial host's directory is the module as long as the record says that
    /// nobody has been primary yet; everybody else knows nothing and follows.</summary>
    private LocalState Initial(DesiredModule desired)
    {
        var record = ToRecord(desired.Record)!;
        var holdsData = desired.InitialHost == _identity.Host && record.Primary is null && record.InSync is [var only] && only == _identity.Host;
        // A base of its own: two hosts that know nothing must never look equal to each other.
        return holdsData ? new LocalState(record, DataState.UpToDate, Guid.NewGuid(), Guid.Empty, Run: false) : LocalState.Fresh;
    }

    private async Task TellContentAsync(DesiredModule desired)
    {
        try
        {
            var bytes = await Task.Run(() => desired.Directories.Select(ModulePreparation.ContentBytes).ToArray(), _stop.Token).ConfigureAwait(false);
            while (_desired?.Modules.Any(module => module.Module == desired.Module && module.Record.Incarnation == desired.Record.Incarnation
                && module.Phase == ModulePhase.Preparing) == true)
            {
                _peers.SendContent(desired.Module, desired.Record.Incarnation, bytes);
                await Task.Delay(ContentInterval, _stop.Token).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            HostLog.Error("modules", "the directories cannot be measured", ("module", desired.Module), ("reason", e.Message));
        }
        catch (OperationCanceledException)
        {
            // The process ends.
        }
    }

    private string StateDirectory(string module) => ModuleStateDirectory.PathFor(_options.DataDirectory, module);
}
