namespace Pollux.DataPlane.Core.Fencing;

/// <summary>How a call of a fence agent ended.</summary>
public enum FenceOutcome
{
    /// <summary>The agent says that it is done. A host that hears this of its own power runs on all the same: the agent is set up wrongly.</summary>
    Done,

    /// <summary>The agent says that it failed, or cannot be run.</summary>
    Refused,

    /// <summary>No answer within the deadline: it may have been done or not (S11).</summary>
    Unknown,
}

/// <summary>What this host has to fence itself with.</summary>
/// <param name="StopMs">How long a killed VM may take to go before this host is fenced.</param>
/// <param name="WatchdogTimeoutMs">0: none.</param>
public sealed record FenceMeans(long StopMs, long WatchdogTimeoutMs, bool HasAgent);

/// <summary>How far the escalation has come.</summary>
public enum FenceStage
{
    /// <summary>All VMs stop. To Waiting.</summary>
    Idle,

    /// <summary>A VM was killed and does not go. To Idle when it has gone; after StopMs to Starving, Asking or Helpless.</summary>
    Waiting,

    /// <summary>The watchdog is not fed any more. To Idle when the VM has gone; when the reset did not come, to Asking or Helpless.</summary>
    Starving,

    /// <summary>The agent is at work. To Pausing, and to Idle when the VM has gone.</summary>
    Asking,

    /// <summary>The agent's call has ended and this host runs on. To Asking after a pause, and to Idle when the VM has gone.</summary>
    Pausing,

    /// <summary>Nothing is left to be done by this host: the operator has to switch it off. To Idle when the VM has gone.</summary>
    Helpless,
}

/// <summary>The last steps of a host that cannot stop a VM, after shutdown, destroy and kill: it fences itself, by its watchdog, then by an agent
/// for its own power switch. The watchdog first: it needs nothing but this machine.</summary>
/// <remarks>No I/O and no clock: the shell calls <see cref="Step"/> with what is so, and does what the result says. Not thread-safe.</remarks>
public sealed class FenceEscalation(FenceMeans means)
{
    /// <summary>A device counts inexactly and a reset takes a moment, milliseconds: after this it did not come.</summary>
    public const long ResetMsMax = 5_000;

    /// <summary>Pause before the agent is called again, doubled each time, and its limit, milliseconds: a power switch may be unreachable for
    /// hours, and each call may be the one that works.</summary>
    public const long AskAgainMs = 30_000;
    public const long AskAgainMsMax = 600_000;

    private long _untilMs;
    private int _asked;

    public FenceStage Stage { get; private set; }

    /// <summary>What the last call of the agent came to; null: none has ended.</summary>
    public FenceOutcome? LastOutcome { get; private set; }

    /// <summary>The watchdog must not be fed.</summary>
    public bool Starves => Stage is FenceStage.Starving or FenceStage.Asking or FenceStage.Pausing or FenceStage.Helpless && means.WatchdogTimeoutMs > 0;

    /// <param name="stuckSinceMs">Since when the VM that is longest killed does not go; null: there is none.</param>
    /// <param name="agentEnded">How the call of the agent ended, in the first step after it; else null.</param>
    /// <returns>True if the agent is to be called now.</returns>
    public bool Step(long nowMs, long? stuckSinceMs, FenceOutcome? agentEnded = null)
    {
        if (agentEnded is { } outcome)
        {
            LastOutcome = outcome;
            if (Stage == FenceStage.Asking)
                (Stage, _untilMs) = (FenceStage.Pausing, nowMs + Math.Min(AskAgainMs << Math.Min(_asked - 1, 10), AskAgainMsMax));
        }

        if (stuckSinceMs is not { } since)
        {
            // A call that is under way is not taken back: it cannot be. Its end finds this host idle.
            (Stage, _asked) = (FenceStage.Idle, 0);
            return false;
        }

        if (Stage == FenceStage.Idle)
            Stage = FenceStage.Waiting;
        if (Stage == FenceStage.Waiting && nowMs - since >= means.StopMs)
        {
            if (means.WatchdogTimeoutMs > 0)
                (Stage, _untilMs) = (FenceStage.Starving, nowMs + means.WatchdogTimeoutMs + ResetMsMax);
            else
                return Ask();
        }

        return Stage is FenceStage.Starving or FenceStage.Pausing && nowMs >= _untilMs && Ask();
    }

    private bool Ask()
    {
        Stage = means.HasAgent ? FenceStage.Asking : FenceStage.Helpless;
        if (means.HasAgent)
            _asked++;
        return means.HasAgent;
    }
}
