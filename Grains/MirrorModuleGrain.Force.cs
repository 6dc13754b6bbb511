using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Grains;

/// <summary>force-promote: the operator's last resort.</summary>
public sealed partial class MirrorModuleGrain
{
    public async Task<ForcePreview?> PreviewForceAsync(string host)
    {
        if (_state.Value is not { Phase: ModulePhase.Active, Record: { } record } state) return null;
        var named = GrainKey.Of(GrainKey.ClusterOf(Key), host);
        var other = record.Hosts.FirstOrDefault(one => one != named) ?? named;
        if (!record.Hosts.Contains(named))
            return new ForcePreview(named, other, record.Epoch, null, null, null, 0, null, Problems.PlaceForeign(Key, named));
        var itself = await HostWordAsync(named);
        var hears = await GrainFactory.GetGrain<IHostGrain>(named).ReadAsync() is { Connected: true, PeerReachable: true };
        var peer = await GrainFactory.GetGrain<IHostGrain>(other).ReadAsync();
        var left = ForcePromotion.Left(state.History, named);
        // What it said before it went; nothing after a restart of the control plane.
        var lastWords = peer.Modules.FirstOrDefault(report => report.Module == Key && report.Record.Incarnation == record.Incarnation && report.Role is "ALONE" or "PRIM");
        return new ForcePreview(
            named, other, record.Epoch, itself.Report?.DataState, left?.UnixMs, left?.Epoch, peer.LastSeenUnixMs, lastWords?.Replication.DirtyBytes,
            ForcePromotion.Check(Key, record, named, itself, peer.Connected || hears));
    }

    public async Task<Outcome> ForceAsync(string host, long epoch)
    {
        if (await NotTakingAsync() is { } problem) return Outcome.Refused(problem);
        var state = _state.Value;
        var record = state.Record!;
        var named = GrainKey.Of(GrainKey.ClusterOf(Key), host);
        // Repeated, with the answer to the first lost.
        if (record.Declared == named && record.Epoch == epoch + 1) return Outcome.Done;
        var preview = (await PreviewForceAsync(host))!;
        // The epoch before anything else: it is what the operator has seen, and the grain may have decided while the hosts were asked.
        var notNow = _state.Value.Record!.Epoch != epoch || preview.Epoch != epoch ? Problems.ForceRecordMoved(Key, epoch, _state.Value.Record!.Epoch) : preview.WhyNot;
        if (notNow is not null)
        {
            await NoteRefusedAsync(ForcePromotion.Change, notNow);
            return Outcome.Refused(notNow);
        }

        var declared = Arbiter.Declare(_state.Value.Record!, named);
        await _state.SaveAsync(WithHistory(_state.Value with { Record = declared, PlacedByOperator = true }, ForcePromotion.Change, Asker,
            $"{AskerInWords} declared the copy of {host} to be the module and {GrainKey.NameOf(preview.Other)} to be off. What was acknowledged without {host} is given up."));
        LogChanged(Key, ForcePromotion.Change, Asker, declared.Epoch, declared.Primary, string.Join(',', declared.InSync));
        await HintHostsAsync();
        return Outcome.Done;
    }
}
