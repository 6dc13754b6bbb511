using Pollux.DataPlane.Core.Roles;
using Pollux.Tests.Simulation.Model;
using ArbiterRequest = Pollux.DataPlane.Core.Roles.ArbiterRequest;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>What the machines ask for.</summary>
internal sealed partial class Pair
{
    private void Perform(int host, RoleEffect effect)
    {
        var it = hosts[host];
        switch (effect)
        {
            case RoleEffect.SaveState save:
                it.Unstored = [.. it.Unstored, (save.Version, save.State)];
                break;
            case RoleEffect.SendBeacon send:
                if (!it.CutTowardsPeer)
                    it.Beacons = Appended(it.Beacons, (send.Beacon, nowMs), BeaconsMax);
                break;
            case RoleEffect.AnswerBeacon answer:
                SendAnswer(host, answer.Answer);
                break;
            case RoleEffect.AskArbiter ask:
                SendRequest(it, ask.Request);
                break;
            case RoleEffect.Serve serve:
                it.Opening = true;
                it.Epoch = serve.Epoch;
                it.Holds = serve.PeerIsMember;
                break;
            case RoleEffect.AttachPeer attach:
                it.Attach = attach.InSync ? Attach.InSync : Attach.Resync;
                it.Epoch = attach.Epoch;
                break;
            case RoleEffect.DetachPeer detach:
                it.Attach = Attach.No;
                it.Holds = false;
                it.Epoch = detach.Epoch;
                CloseSourceEnd(host);
                break;
            case RoleEffect.SetEpoch set: it.Epoch = set.Epoch; break;
            case RoleEffect.AllowResync allow: Allowed(host, allow.SyncBase); break;
            case RoleEffect.ConfirmResynced confirm:
                if (session is { TargetOpen: true } confirmed && confirmed.Source != host && confirmed.SyncBase == confirm.SyncBase)
                    session = confirmed with { TargetConfirmed = true };
                break;
            case RoleEffect.Freeze: it.IoFrozen = true; break;
            case RoleEffect.Unfreeze: it.IoFrozen = it.QuiesceAsked = it.Quiesced = false; break;
            case RoleEffect.Quiesce: it.QuiesceAsked = true; break;
            case RoleEffect.Follow follow:
                it.Follows = true;
                it.FollowEpoch = follow.Epoch;
                break;
            case RoleEffect.StopFollowing: it.FollowEnding = true; break;
            case RoleEffect.Release:
                it.Releasing = true;
                it.Opening = it.Serves = it.Holds = it.QuiesceAsked = it.Quiesced = false;
                it.Attach = Attach.No;
                it.Writing = 0; // Never acknowledged; it stays in doubt.
                CloseSourceEnd(host);
                break;
            case RoleEffect.StartWorkload:
                if (it.Vm == Machine.Off)
                    it.Vm = Machine.Starting;
                it.VmPaused = false;
                break;
            case RoleEffect.StopWorkload: it.VmStopAsked = true; break;
            case RoleEffect.PauseWorkload: it.VmPaused = true; break;
            case RoleEffect.ResumeWorkload:
                if (nowMs < it.LeaseUntilMs)
                    it.VmPaused = false;
                break;
            case RoleEffect.ExtendLease lease: it.LeaseUntilMs = lease.UntilMs; break;
            case RoleEffect.MayEnd: it.MayEnd = true; break;
            case RoleEffect.CommandDone or RoleEffect.CheckAnswered or RoleEffect.RoleChanged: break;
            default: throw new InvalidOperationException($"The checker does not know the effect {effect.GetType().Name}.");
        }
    }

    private void SendAnswer(int host, BeaconAnswer answer)
    {
        if (hosts[host].CutTowardsPeer)
            return;
        hosts[host].Answers = Appended(hosts[host].Answers, (answer, beaconHeardSentMs), BeaconsMax);
    }

    private static void SendRequest(PairHost it, ArbiterRequest request)
    {
        if (it.CutFromArbiter || it.Requests.Any(other => other.OperationId == request.OperationId))
            return;
        // A newer look stands for the older one; of the changes the newest are kept.
        var kept = request.Change == RecordChange.Look ? [.. it.Requests.Where(other => other.Change != RecordChange.Look)] : it.Requests;
        it.Requests = Appended(kept, request, RequestsMax);
    }

    private static T[] Appended<T>(T[] queue, T item, int max) => queue.Length < max ? [.. queue, item] : [.. queue[1..], item];

    private static T[] Without<T>(T[] queue, int index) => [.. queue[..index], .. queue[(index + 1)..]];

    private void Allowed(int host, Guid syncBase)
    {
        if (session is not { } current || current.SyncBase != syncBase)
            return;
        if (current.Source == host)
            session = current with { SourceAllowed = true };
        else if (current.TargetOpen)
            session = current with { TargetAllowed = true };
    }

    private void CloseSourceEnd(int host)
    {
        if (session is { SourceOpen: true } current && current.Source == host)
            session = Ended(current with { SourceOpen = false });
    }

    private void CloseTargetEnd(int host)
    {
        if (session is { TargetOpen: true } current && current.Source != host)
            session = Ended(current with { TargetOpen = false, Frame = 0 });
    }

    private static Session? Ended(Session current) => current is { SourceOpen: false, TargetOpen: false } ? null : current;

    /// <summary>The process of a host is gone: its ends of everything close.</summary>
    private void ProcessDies(int host, int stored)
    {
        var it = hosts[host];
        if (sabotage == Sabotage.ConfirmUnstoredState)
            stored = 0;
        if (stored > 0)
            it.Stored = it.Unstored[stored - 1].State;
        it.ForgetProcess();
        if (it.Vm == Machine.Starting)
            it.Vm = Machine.Off;
        CloseSourceEnd(host);
        CloseTargetEnd(host);
        hosts[Other(host)].Beacons = [];
        hosts[Other(host)].Answers = [];
    }
}
