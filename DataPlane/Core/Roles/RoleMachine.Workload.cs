using System.Collections.Immutable;

namespace Pollux.DataPlane.Core.Roles;

/// <summary>The VM (or application) on a serving host, and how it is given up for a stop and for a swap.</summary>
public sealed partial class RoleMachine
{
    /// <summary>Pause before a crashed workload is started again, and before a failed stop is tried again, milliseconds.</summary>
    private const long RestartAfterMs = 1_000;

    private enum Work
    {
        /// <summary>Certainly not running on this host.</summary>
        Off,
        Starting,
        Running,
        Stopping,
    }

    private enum Quiesce
    {
        None,
        Asked,
        Done,
    }

    private readonly List<long> crashes = [];
    private Work work = Work.Off;
    private Quiesce quiesce = Quiesce.None;
    private long quiesceUntilMs;
    private bool paused;
    private bool shutDown;
    private bool failed;
    private bool stopFails;
    private string workloadReason = "";
    private long startNotBeforeMs;
    private long stopAgainMs;
    private long stopUntilMs;

    private bool WorkloadMayRun => work != Work.Off;

    private bool PrimReady =>
        phase == Phase.Serving && Record.Contains(peer) && Durable && Wanted && sessionUp && peerLost is null && LeaseValid && !frozen
        && work == Work.Running && !CommandOpen;

    private bool TurnGoal()
    {
        if (!Wanted)
        {
            GiveUpSwap("The operator wants the module stopped.");
            EndRestart(succeeded: false, "The operator wants the module stopped.");
            return TurnStopping();
        }

        return swap is not null ? TurnSwap() : restart is not null ? TurnRestart() : TurnRunning();
    }

    private bool TurnRunning()
    {
        if (quiesce != Quiesce.None)
        {
            quiesce = Quiesce.None;
            Emit(new RoleEffect.Unfreeze());
            if (frozen)
                Emit(new RoleEffect.Freeze());
            return true;
        }

        RetryStop();
        if (work != Work.Off || shutDown || failed || frozen)
            return false;
        Due(startNotBeforeMs);
        // S8: with a member that may take over, executing needs a lease.
        if (nowMs < startNotBeforeMs || !Durable || (LeaseNeeded && !LeaseValid))
            return false;
        work = Work.Starting;
        Emit(new RoleEffect.StartWorkload(Record.Epoch));
        return true;
    }

    /// <summary>Stop: the VM, then everything flushed on both hosts, then the volume. The record stays.</summary>
    private bool TurnStopping()
    {
        if (work != Work.Off)
            return BeginStop(frozen ? 0 : timings.GracefulStopMs);
        if (frozen)
            return Leave(RoleCodes.Stopping, cause); // Nothing can be flushed without permission, and nothing was acknowledged.
        return QuiesceEnded(out var asked) ? Leave(RoleCodes.Stopping, cause) : asked;
    }

    /// <summary>Everything accepted is finished and flushed on both hosts (<see cref="Quiesce.Done"/>), or the time for it is over.</summary>
    /// <param name="asked">It is asked by this call.</param>
    private bool QuiesceEnded(out bool asked)
    {
        asked = quiesce == Quiesce.None;
        if (asked)
        {
            quiesce = Quiesce.Asked;
            quiesceUntilMs = nowMs + 2 * timings.DetectionMs;
            Emit(new RoleEffect.Quiesce());
            return false;
        }

        if (quiesce == Quiesce.Asked)
            Due(quiesceUntilMs);
        return quiesce == Quiesce.Done || nowMs >= quiesceUntilMs;
    }

    private void OnQuiesced()
    {
        if (phase == Phase.Serving && quiesce == Quiesce.Asked)
            quiesce = Quiesce.Done;
    }

    private bool BeginStop(long graceMs)
    {
        RetryStop();
        if (work == Work.Stopping)
        {
            Due(stopUntilMs);
            return false;
        }

        StopWorkload(graceMs);
        return true;
    }

    private void StopWorkload(long graceMs)
    {
        work = Work.Stopping;
        stopFails = false;
        stopUntilMs = nowMs + graceMs + timings.DetectionMs;
        Emit(new RoleEffect.StopWorkload(graceMs));
    }

    /// <summary>A stop that failed is tried again, hard, for as long as it takes: nothing else may follow.</summary>
    private void RetryStop()
    {
        if (work != Work.Stopping || !stopFails || swap is not null)
            return;
        Due(stopAgainMs);
        if (nowMs >= stopAgainMs)
            StopWorkload(graceMs: 0);
    }

    private void OnWorkloadStarted()
    {
        if (work != Work.Starting)
            return;
        work = Work.Running;
    }

    private void OnWorkloadStopped(RoleInput.WorkloadStopped stopped)
    {
        var unexpected = !stopped.Commanded && work is Work.Starting or Work.Running;
        work = Work.Off;
        paused = stopFails = false;
        workloadReason = stopped.Reason;
        // The look from before the stop is old by now, and the time for it may be over: a guest takes what it needs to shut down.
        swapLookUntilMs = nowMs + timings.DetectionMs;
        if (!unexpected || phase != Phase.Serving)
            return;
        if (stopped.Clean)
        {
            shutDown = true;
            cause = $"The guest shut itself down. {stopped.Reason}";
        }
        else
        {
            CountCrash(stopped.Reason);
        }
    }

    private void OnWorkloadFailed(string reason)
    {
        workloadReason = reason;
        if (work == Work.Starting)
        {
            CountCrash(reason);
            StopWorkload(graceMs: 0); // Whether it runs is unknown (S11): made certain before the next start.
        }
        else if (work == Work.Stopping)
        {
            stopFails = true;
            stopAgainMs = nowMs + RestartAfterMs;
        }
    }

    /// <summary>What was stored before this process started.</summary>
    private void RememberCrashes(ImmutableArray<long> agesMs)
    {
        crashes.AddRange(agesMs.Where(ageMs => ageMs <= State.Policy.RestartWindowMs).Select(ageMs => nowMs - ageMs));
        failed = crashes.Count > State.Policy.RestartsMax && Record.Primary == self;
        if (failed)
            workloadReason = $"It ended by itself or could not be started {crashes.Count} times within {RestartWindow}, before this process started.";
    }

    private void ForgetCrashes()
    {
        failed = false;
        if (crashes.Count == 0)
            return;
        crashes.Clear();
        Save(State);
    }

    private void CountCrash(string reason)
    {
        startNotBeforeMs = nowMs + RestartAfterMs;
        // The guard's doing, and not the VM's fault; the news of it may come after the next lease.
        if ((LeaseNeeded && !LeaseValid) || nowMs - thawedMs < timings.DetectionMs)
        {
            cause = $"The VM ended without a lease. {reason}";
            return;
        }

        CountTry(reason);
        cause = $"The VM ended by itself or could not be started ({crashes.Count} times within {RestartWindow}; it is started again {State.Policy.RestartsMax} times). {reason}";
    }

    /// <summary>One more within the window, durably; more than the limit: it stays down.</summary>
    private void CountTry(string reason)
    {
        ForgetOldTries();
        crashes.Add(nowMs);
        failed = crashes.Count > State.Policy.RestartsMax;
        workloadReason = reason;
        Save(State);
    }

    private void ForgetOldTries() => crashes.RemoveAll(atMs => nowMs - atMs > State.Policy.RestartWindowMs);

    private string RestartWindow => State.Policy.RestartWindowMs % 3_600_000 == 0 ? $"{State.Policy.RestartWindowMs / 3_600_000} hours" : $"{State.Policy.RestartWindowMs / 1_000} s";
}
