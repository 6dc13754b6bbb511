using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>What may happen next.</summary>
internal sealed partial class Pair
{
    /// <summary>Fills the list with everything that may happen in this state.</summary>
    public void MayHappen(List<PairEvent> events)
    {
        events.Clear();
        for (var host = 0; host < 2; host++)
            UnderWay(host, events);
        var waits = events.Count > 0;
        for (var host = 0; host < 2; host++)
        {
            AtLeisure(host, events);
            Unasked(host, events);
        }

        if (!waits)
            events.Add(new PairEvent(What.TimePasses));
        else if (Has(Budget.Delay))
            events.Add(new PairEvent(What.TimePassesTooSoon));
        for (var index = 0; index < strays.Length; index++)
            if (!hosts[strays[index].Host].CutFromArbiter)
                events.Add(new PairEvent(What.StrayDecided, strays[index].Host, index));
        if (prompt && events.Exists(IsOwn))
            events.RemoveAll(item => !IsOwn(item) && item.What < What.ProcessCrashes);
    }

    private static bool IsOwn(PairEvent item) => item.What is
        What.Stored or What.VolumeServed or What.FollowingEnds or What.VolumeReleased or What.Quiesced or What.VmBegins or What.VmEnds or What.ProcessEnds;

    /// <summary>What the calm schedule does: whatever is possible, and time when nothing is; the end of faults, if they may end.</summary>
    public PairEvent? Calm(List<PairEvent> events, bool faultsEnd)
    {
        MayHappen(events);
        PairEvent? first = null;
        foreach (var item in events)
        {
            if (!item.Calm || (!faultsEnd && item.What is What.LinkHeals or What.ArbiterHeals or What.ProcessThaws or What.ProcessStarts))
                continue;
            if (first is null || item.What < first.Value.What)
                first = item;
        }

        return first;
    }

    private bool Has(Budget budget) => faultsLeft > 0 && left[(int)budget] > 0;

    private void UnderWay(int host, List<PairEvent> events)
    {
        var it = hosts[host];
        var peer = hosts[Other(host)];
        if (!it.CutFromArbiter)
            for (var index = 0; index < it.Requests.Length; index++)
                events.Add(new PairEvent(What.ArbiterDecides, host, index));
        if (!it.Up)
            return;
        if (it.Unstored.Length > 0)
            events.Add(new PairEvent(What.Stored, host));
        if (peer.Beacons.Length > 0 && !peer.CutTowardsPeer)
            events.Add(new PairEvent(What.BeaconArrives, host));
        if (peer.Answers.Length > 0 && !peer.CutTowardsPeer)
            events.Add(new PairEvent(What.AnswerArrives, host));
        if (!it.CutFromArbiter)
            for (var index = 0; index < it.Replies.Length; index++)
                events.Add(new PairEvent(What.ReplyArrives, host, index));
        if (it.Opening)
            events.Add(new PairEvent(What.VolumeServed, host));
        if (it.FollowEnding)
            events.Add(new PairEvent(What.FollowingEnds, host));
        if (it.Releasing)
            events.Add(new PairEvent(What.VolumeReleased, host));
        if (it.QuiesceAsked && !it.Quiesced && it.Writing == 0 && (!it.Holds || MirrorsTo(host)))
            events.Add(new PairEvent(What.Quiesced, host));
        if (it.Vm == Machine.Starting && !it.VmStopAsked)
            events.Add(new PairEvent(What.VmBegins, host));
        if (it.VmStopAsked)
            events.Add(new PairEvent(What.VmEnds, host));
        if (it.MayEnd)
            events.Add(new PairEvent(What.ProcessEnds, host));
        if (session is { TargetOpen: true, Frame: not 0 } && session.Source != host && !peer.CutTowardsPeer && it.Follows)
            events.Add(new PairEvent(What.FrameApplied, host));
        if (it.Writing != 0 && it.Serves && !it.IoFrozen && MayEndWrite(host))
            events.Add(new PairEvent(What.WriteEnds, host));
    }

    private bool MirrorsTo(int source) =>
        session is { SourceOpen: true, TargetOpen: true, Phase: SessionPhase.Final or SessionPhase.InSync } && session.Source == source;

    private bool MayEndWrite(int host)
    {
        var it = hosts[host];
        if (it.Vm == Machine.Running && !Executes(host))
            return false; // Nobody hears it.
        if (!it.Holds || sabotage == Model.Sabotage.AcknowledgeBeforePeer)
            return true;
        if (session is { SourceOpen: true } current && current.Source == host && current.Applied == it.Writing && !hosts[Other(host)].CutTowardsPeer)
            return true;
        // S4 broken: what is held is released as soon as no session is there.
        return sabotage == Model.Sabotage.ExcludeNotAsked && session is not { SourceOpen: true };
    }

    private void AtLeisure(int host, List<PairEvent> events)
    {
        var it = hosts[host];
        var target = Other(host);
        var other = hosts[target];
        var cut = it.CutTowardsPeer || other.CutTowardsPeer;
        if (session is { } current && current.Source == host)
            Resync(current, host, cut, events);

        if (it.Up && it.Serves && it.Attach != Attach.No && session is not { SourceOpen: true } && !cut && other.Up && other.Follows
            && !other.FollowEnding && !other.Releasing && other.FollowEpoch <= it.Epoch && (it.Attach == Attach.Resync || it.Stored.SyncBase == other.Stored.SyncBase))
            events.Add(new PairEvent(What.SessionBegins, host));
        if (it.CutTowardsPeer)
            events.Add(new PairEvent(What.LinkHeals, host));
        if (it.CutFromArbiter)
            events.Add(new PairEvent(What.ArbiterHeals, host));
        if (it.Frozen)
            events.Add(new PairEvent(What.ProcessThaws, host));
        if (it.Role is null)
            events.Add(new PairEvent(What.ProcessStarts, host));
    }

    private void Resync(Session current, int host, bool cut, List<PairEvent> events)
    {
        var target = Other(host);
        var (from, to) = (hosts[host], hosts[target]);
        var open = current is { SourceOpen: true, TargetOpen: true } && !cut && from.Up && to.Up;
        if (open && current.Phase == SessionPhase.Starting && !current.TargetStarted)
            events.Add(new PairEvent(What.TargetStarts, target));
        var allowed = current is { SourceAllowed: true, TargetAllowed: true } || (sabotage == Model.Sabotage.OverwrittenBeforeStored && current is { SourceAllowed: true, TargetStarted: true });
        if (open && current.Phase == SessionPhase.Starting && allowed)
            events.Add(new PairEvent(What.MarksUnited, host));
        if (open && current.Phase == SessionPhase.Copying && from.Marked && to.Copy != from.Copy)
            events.Add(new PairEvent(What.Copied, target));
        else if (open && current is { Phase: SessionPhase.Copying, TargetAllowed: true } && from.Writing == 0)
            events.Add(new PairEvent(What.TargetFlushed, target));
        if (open && current is { Phase: SessionPhase.Final, TargetConfirmed: true })
            events.Add(new PairEvent(What.CaughtUp, host));
        if (from.Up && current.SourceOpen && (cut || !current.TargetOpen))
            events.Add(new PairEvent(What.SourceEndCloses, host));
        if (to.Up && current.TargetOpen && (cut || !current.SourceOpen))
            events.Add(new PairEvent(What.TargetEndCloses, target));
    }

    /// <summary>What the guest does, faults and commands.</summary>
    private void Unasked(int host, List<PairEvent> events)
    {
        var it = hosts[host];
        if (writesLeft > 0 && it.Up && it.Serves && Executes(host) && !it.IoFrozen && !it.QuiesceAsked && it.Writing == 0)
            events.Add(new PairEvent(What.GuestWrites, host));
        if (faultsLeft == 0)
            return;
        if (Has(Budget.Crash) && it.Role is not null)
            for (var stored = 0; stored <= it.Unstored.Length; stored++)
                events.Add(new PairEvent(What.ProcessCrashes, host, stored));
        if (Has(Budget.PowerLoss) && it.Powered)
            for (var stored = 0; stored <= it.Unstored.Length; stored++)
            {
                events.Add(new PairEvent(What.PowerLost, host, 2 * stored));
                if (it.Copy != it.Stable)
                    events.Add(new PairEvent(What.PowerLost, host, 2 * stored + 1));
            }

        if (Has(Budget.Cut) && !it.CutTowardsPeer)
            events.Add(new PairEvent(What.LinkCut, host));
        if (Has(Budget.ArbiterCut) && !it.CutFromArbiter)
            events.Add(new PairEvent(What.ArbiterCut, host));
        if (Has(Budget.Freeze) && it.Up)
            events.Add(new PairEvent(What.ProcessFreezes, host));
        if (Has(Budget.Loss))
        {
            if (it.Beacons.Length > 0)
                events.Add(new PairEvent(What.BeaconLost, host));
            if (it.Answers.Length > 0)
                events.Add(new PairEvent(What.AnswerLost, host));
            for (var index = 0; index < it.Requests.Length; index++)
                events.Add(new PairEvent(What.RequestLost, host, index));
            for (var index = 0; index < it.Replies.Length; index++)
                events.Add(new PairEvent(What.ReplyLost, host, index));
        }

        for (var index = 0; index < it.Requests.Length; index++)
        {
            if (Has(Budget.Stray) && it.Requests[index].Change != RecordChange.Look)
            {
                events.Add(new PairEvent(What.RequestStrays, host, index));
                events.Add(new PairEvent(What.RequestDoubled, host, index));
            }

            if (Has(Budget.Stale) && !it.CutFromArbiter && recordBefore.Epoch != record.Epoch)
                events.Add(new PairEvent(What.StaleDecision, host, index));
        }

        if (Has(Budget.Swap) && it.Role?.View is { Role: Role.Prim, Ready: true })
            events.Add(new PairEvent(What.SwapAsked, host));
        if (Has(Budget.Leave) && it.Up && it.Role!.View.Role == Role.Second)
            events.Add(new PairEvent(What.HostStops, host));
    }
}
