using Pollux.DataPlane.Core.Roles;
using Pollux.Grains.Core;
using Pollux.Tests.Simulation.Model;
using ArbiterRequest = Pollux.DataPlane.Core.Roles.ArbiterRequest;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>What becomes of an event.</summary>
internal sealed partial class Pair
{
    /// <summary>When the beacon was sent that is being answered.</summary>
    private long beaconHeardSentMs;

    private void Happen(PairEvent happens)
    {
        var host = happens.Host;
        var it = hosts[host];
        var peer = hosts[Other(host)];
        switch (happens.What)
        {
            case What.Stored: Stored(host); break;
            case What.BeaconArrives: Hear(host); break;
            case What.AnswerArrives:
                var answer = peer.Answers[0].Answer;
                peer.Answers = peer.Answers[1..];
                Feed(host, new RoleInput.BeaconAnswered(answer));
                break;
            case What.ArbiterDecides:
                var request = it.Requests[happens.Choice];
                it.Requests = Without(it.Requests, happens.Choice);
                Decide(host, request);
                break;
            case What.ReplyArrives:
                var reply = it.Replies[happens.Choice];
                it.Replies = Without(it.Replies, happens.Choice);
                Feed(host, new RoleInput.ArbiterAnswered(reply));
                break;
            case What.VolumeServed:
                it.Opening = false;
                it.Serves = true;
                Feed(host, new RoleInput.Serving(it.Epoch));
                break;
            case What.FollowingEnds:
                it.FollowEnding = it.Follows = false;
                CloseTargetEnd(host);
                Feed(host, new RoleInput.FollowingStopped());
                break;
            case What.VolumeReleased:
                it.Releasing = it.Follows = it.FollowEnding = it.IoFrozen = false;
                CloseTargetEnd(host);
                Feed(host, new RoleInput.Released());
                break;
            case What.Quiesced:
                it.Quiesced = true;
                Feed(host, new RoleInput.Quiesced());
                break;
            case What.VmBegins: VmBegins(host); break;
            case What.VmEnds:
                it.Vm = Machine.Off;
                it.VmStopAsked = it.VmPaused = false;
                Feed(host, new RoleInput.WorkloadStopped(true, "by command"));
                break;
            case What.TimePasses: Pass(); break;
            case What.TimePassesTooSoon:
                Spend(Budget.Delay);
                Pass();
                break;
            case What.SwapAsked:
                Spend(Budget.Swap);
                Feed(host, new RoleInput.Command(NewName(), RoleCommand.Swap));
                break;
            case What.HostStops:
                Spend(Budget.Leave);
                Feed(host, new RoleInput.HostStops());
                break;
            case What.ProcessEnds: ProcessDies(host, it.Unstored.Length); break;
            case What.StrayDecided:
                var stray = strays[happens.Choice];
                strays = Without(strays, happens.Choice);
                Decide(stray.Host, stray.Request);
                break;
            case >= What.ProcessCrashes and <= What.StaleDecision: Fault(happens, it, peer); break;
            case What.LinkHeals: it.CutTowardsPeer = false; break;
            case What.ArbiterHeals: it.CutFromArbiter = false; break;
            case What.ProcessThaws:
                it.Frozen = false;
                Feed(host, new RoleInput.Tick());
                break;
            case What.ProcessStarts:
                it.Powered = true;
                StartProcess(host);
                break;
            default: Replicate(happens.What, host); break;
        }
    }

    private void Spend(Budget budget)
    {
        left[(int)budget]--;
        faultsLeft--;
    }

    private void Pass()
    {
        nowMs += StepMs;
        foreach (var host in hosts)
            (host.Stored, host.Confirmed) = (host.Confirmed ?? host.Stored, null);
        for (var host = 0; host < 2; host++)
            if (hosts[host].Up)
                Feed(host, new RoleInput.Tick());
    }

    private void Stored(int host)
    {
        var it = hosts[host];
        var (version, state) = it.Unstored[^1];
        if (sabotage == Sabotage.ConfirmUnstoredState)
            it.Confirmed = state;
        else
            it.Stored = state;
        it.Unstored = [];
        Feed(host, new RoleInput.StateSaved(version));
    }

    private void Hear(int host)
    {
        var from = hosts[Other(host)];
        var (beacon, sentMs) = from.Beacons[0];
        from.Beacons = from.Beacons[1..];
        beaconHeardSentMs = sentMs;
        Feed(host, new RoleInput.BeaconReceived(beacon));
        if (sabotage == Sabotage.AnswerWhileClaiming && beacon.Role is Role.Prim or Role.Alone && hosts[host].Role?.View.Role is Role.Wait or Role.Second)
            SendAnswer(host, new BeaconAnswer(beacon.Incarnation, beacon.Sequence, hosts[host].Incarnation));
        beaconHeardSentMs = 0;
    }

    private void Decide(int host, ArbiterRequest request)
    {
        var asked = World.ToArbiter(request);
        if (sabotage == Sabotage.OlderEpochAccepted)
            asked = asked with { ExpectedEpoch = record.Epoch };
        var judged = sabotage == Sabotage.PromoteOutdated && request.Change == RecordChange.Takeover ? record with { InSync = [.. record.Hosts] } : record;
        var (decision, after) = Arbiter.Decide(judged, asked);
        if (!ReferenceEquals(after, judged))
        {
            CheckDecided(request, after);
            recordBefore = record;
            record = after;
        }

        Reply(host, request, decision);
    }

    /// <summary>Another activation has the record before this one in memory. What it would grant is lost on the ETag, and it answers
    /// nothing; what it refuses or shows it says.</summary>
    private void DecideStale(int host, ArbiterRequest request)
    {
        var (decision, after) = Arbiter.Decide(recordBefore, World.ToArbiter(request));
        if (ReferenceEquals(after, recordBefore))
            Reply(host, request, decision);
    }

    private void Reply(int host, ArbiterRequest request, ArbiterDecision decision)
    {
        var it = hosts[host];
        if (it.Role is null)
            return;
        var told = decision.Record;
        it.Replies = Appended(it.Replies, new ArbiterAnswer(
            request.OperationId, decision.Granted ? ArbiterOutcome.Granted : ArbiterOutcome.Refused,
            new AuthorityRecord(told.Incarnation, told.Epoch, told.Primary, told.InSync), decision.Reason), RequestsMax);
    }

    private void VmBegins(int host)
    {
        var it = hosts[host];
        if (nowMs >= it.LeaseUntilMs && sabotage != Sabotage.NoPause)
        {
            it.Vm = Machine.Off;
            Feed(host, new RoleInput.WorkloadFailed("the lease has ended before the VM could start"));
            return;
        }

        it.Vm = Machine.Running;
        CheckVmReads(host);
        // What it reads is the truth from now on; what is not stable yet may still be lost with the power.
        if (it.Copy == acknowledged)
            inDoubt = 0;
        else if (it.Stable == it.Copy)
            (acknowledged, inDoubt) = (it.Copy, 0);
        Feed(host, new RoleInput.WorkloadStarted());
    }

    private void Fault(PairEvent happens, PairHost it, PairHost peer)
    {
        var (host, choice) = (happens.Host, happens.Choice);
        switch (happens.What)
        {
            case What.ProcessCrashes:
                Spend(Budget.Crash);
                ProcessDies(host, choice);
                break;
            case What.PowerLost:
                Spend(Budget.PowerLoss);
                ProcessDies(host, it.Role is null ? 0 : choice / 2);
                it.Powered = false;
                it.Booted = true;
                it.Vm = Machine.Off;
                if (choice % 2 == 0)
                    it.Copy = it.Stable;
                else
                    it.Stable = it.Copy;
                break;
            case What.LinkCut:
                Spend(Budget.Cut);
                it.CutTowardsPeer = true;
                it.Beacons = [];
                it.Answers = [];
                break;
            case What.ArbiterCut:
                Spend(Budget.ArbiterCut);
                it.CutFromArbiter = true;
                it.Requests = [];
                it.Replies = [];
                break;
            case What.ProcessFreezes:
                Spend(Budget.Freeze);
                it.Frozen = true;
                break;
            case What.BeaconLost:
                Spend(Budget.Loss);
                it.Beacons = it.Beacons[1..];
                break;
            case What.AnswerLost:
                Spend(Budget.Loss);
                it.Answers = it.Answers[1..];
                break;
            case What.RequestLost:
                Spend(Budget.Loss);
                it.Requests = Without(it.Requests, choice);
                break;
            case What.ReplyLost:
                Spend(Budget.Loss);
                it.Replies = Without(it.Replies, choice);
                break;
            case What.RequestStrays:
                Spend(Budget.Stray);
                strays = [.. strays, (host, it.Requests[choice])];
                it.Requests = Without(it.Requests, choice);
                break;
            case What.RequestDoubled:
                Spend(Budget.Stray);
                strays = [.. strays, (host, it.Requests[choice])];
                break;
            case What.StaleDecision:
                Spend(Budget.Stale);
                var request = it.Requests[choice];
                it.Requests = Without(it.Requests, choice);
                DecideStale(host, request);
                break;
            default: throw new InvalidOperationException($"{happens.What} is no fault, or one of {peer.Incarnation}.");
        }
    }
}
