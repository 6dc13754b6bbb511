using System.Collections.Immutable;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Telemetry;
using Pollux.HostProtocol;

namespace Pollux.DataPlane.Modules;

/// <summary>What operators see of the module: a snapshot from any thread.</summary>
public sealed partial class ModuleRuntime
{
    public ObservedModule Observe(PreparationVerdict? preparation)
    {
        var view = _view;
        var status = _engine.Status;
        var replication = new ObservedReplication(
            status.SessionUp, status.Resyncing, status.FullResync, status.DirtyBytes, status.ResyncTotalBytes, status.ResyncDoneBytes,
            status.ResyncBytesPerSecond, status.HeldOperations, _options.Starts?.Waiting(Module) ?? _workload?.Waiting ?? view.WaitsFor ?? status.WaitingFor ?? _lane.Waiting,
            status.Resync.SkippedBytes, Math.Max(0, status.Resync.LeftBytes), status.Resyncing ? status.Resync.RemainingSeconds : null, Limits(status.Resync))
        {
            Network = status.Network > 0 ? status.Network : null,
        };
        var verify = _verify.Observe(status.Verify);
        return new ObservedModule(
            Module, view.Role.ToString().ToUpperInvariant(), view.Ready, view.DataState.ToString(), ToMessage(view.Record), view.Code, view.Cause,
            BootClock.ToWall(view.SinceMs).ToUnixTimeMilliseconds(), _workload?.State, replication, preparation, Problems(view, status, verify),
            _history.Events, _history.Results, verify)
        {
            Checkers = _checkers.Observe(),
        };
    }

    internal static RecordMessage ToMessage(AuthorityRecord record) => new(record.Incarnation, record.Epoch, record.Primary, record.InSync) { Declared = record.Declared };

    private ImmutableArray<ObservedProblem> Problems(RoleView view, Replication.ReplicationStatus status, ObservedVerify? verify)
    {
        var problems = ImmutableArray.CreateBuilder<ObservedProblem>();
        if (RoleCodes.Find(view.Code) is { Impact: not (RoleImpact.None or RoleImpact.ByCommand) } role)
            problems.Add(new ObservedProblem(role.Code, role.Title, Describe(role.Impact), Join(view.Cause, role.Cause), role.Action));
        if (view.Policy.FailoverOff && view.Code != RoleCodes.FailoverOff.Code)
        {
            problems.Add(new ObservedProblem(RoleCodes.FailoverOff.Code, RoleCodes.FailoverOff.Title, "If the primary is lost, the module stays down.",
                "The operator has switched failover off.", $"When the maintenance is done: pollux module policy {Module} --failover on."));
        }

        if (_options.Starts?.SlowMs(Module) is { } slowMs)
        {
            problems.Add(new ObservedProblem("vm.start-slow", "The VM's start takes long", "The VM does not run yet; VMs of other modules are not held up by it any more.",
                $"The hypervisor was told to start it {slowMs / 1_000} s ago.", "Look at the load of this host and at libvirt's log."));
        }

        if (_saver.Fault is { } fault)
        {
            problems.Add(new ObservedProblem("state.not-stored", "The module's state cannot be stored", Describe(RoleImpact.WritesHeld),
                fault, "Make room on the file system of the data directory, or mend it; it is tried again every second."));
        }

        if (_lane.Waiting is { } waiting)
        {
            problems.Add(new ObservedProblem("step.slow", "A step takes long", "What depends on it waits.", waiting,
                "None if it clears. Otherwise look at the load of this host's disks."));
        }

        if (status.HeldOperations > 0 && status.WaitingFor is { } held)
        {
            problems.Add(new ObservedProblem("replication.held", "Operations wait", $"{status.HeldOperations} operations of the guest wait.",
                held, "None if it clears within the detection time. Otherwise check the peer and the control plane."));
        }

        if (_options.DescribeFallback(status.Network) is { } fallback)
            problems.Add(fallback);
        if (_workload?.Hold is { } hold)
            problems.Add(Held(hold));
        if (view.DataState == DataState.Inconsistent && status.OlderCopy is { Kept: false } none)
        {
            problems.Add(new ObservedProblem("resync.no-older-copy", "This host keeps no older copy during the resync",
                "If the primary is lost before the resync has ended, no usable copy is left on this host.", none.Text,
                "None if that is acceptable. Otherwise keep the module's directory on XFS (with reflink) or btrfs, with room for what changes."));
        }

        if (status.Resync.BelowMinimumMs >= SlowResyncMs)
        {
            problems.Add(new ObservedProblem("resync.slow", "The resync is slower than its minimum", "The module is not protected for longer.",
                $"It makes {Rate(status.ResyncBytesPerSecond)} and shall keep up {Rate(status.Resync.BytesPerSecondMin)}, for {status.Resync.BelowMinimumMs / 1000} s.",
                "Look at the load of the disks of both hosts and of the link between them; guests are held back already as far as that helps."));
        }

        if (_storageOutside is { } outside)
        {
            problems.Add(new ObservedProblem(ModulePreparation.OutsideCode, ModulePreparation.OutsideTitle,
                "The peer has no copy of it: after a failover the VM starts without it, with an older one, or not at all.",
                $"The definition names {outside}, since it was changed after the module was created.",
                ModulePreparation.OutsideAction(_options.Directories[0])));
        }

        problems.AddRange(_checkers.Problems());
        problems.AddRange(_options.HostProblems());
        problems.AddRange(ModuleVerify.Problems(Module, verify));
        return problems.ToImmutable();
    }

    private ObservedProblem Held(WorkloadHold hold) => hold.IsIoError
        ? new ObservedProblem("vm.io-paused", "The VM is paused because its disk gives errors", Describe(RoleImpact.Paused),
            $"{hold.Text} Resumed {hold.Tries} times in vain.",
            $"Make room on the file system of {string.Join(" or ", _options.Directories)} on this host: the VM then goes on by itself within some seconds. "
                + "If only this host is full, pollux module swap moves the VM to the peer.")
        : new ObservedProblem("vm.paused-by-others", "The VM was paused by somebody else", Describe(RoleImpact.Paused), hold.Text,
            "Resume it with the tool that paused it (virsh resume), or stop and start the module.");

    /// <summary>A rate over some seconds dips when a flush runs; longer than this is no dip, milliseconds.</summary>
    private const long SlowResyncMs = 10_000;

    private static ResyncLimitsMessage? Limits(in ResyncStatus resync) => resync.BytesPerSecondMax == 0 ? null
        : new ResyncLimitsMessage(resync.BytesPerSecondMin, resync.BytesPerSecondMax == long.MaxValue ? 0 : resync.BytesPerSecondMax);

    private static string Rate(double bytesPerSecond) => (bytesPerSecond / 1e6).ToString("0.#", System.Globalization.CultureInfo.InvariantCulture) + " MB/s";

    private static string Join(string cause, string likely) => cause.Length == 0 ? likely : cause;

    private static string Describe(RoleImpact impact) => impact switch
    {
        RoleImpact.NotProtected => "The loss of one more host would stop the module.",
        RoleImpact.WritesHeld => "Writes wait.",
        RoleImpact.Paused => "The VM is paused; its memory is kept.",
        RoleImpact.NotRunning => "The module does not run on this host.",
        _ => "None.",
    };
}
