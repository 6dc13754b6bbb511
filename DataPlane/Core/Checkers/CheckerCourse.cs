using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Core.Checkers;

public enum CheckerState
{
    /// <summary>Nothing is tested: the VM does not run here, or waits for something that is not its fault.</summary>
    Resting,

    /// <summary>The VM has started and has not been well yet; failures do not count.</summary>
    Grace,
    Well,

    /// <summary>Failed, and not often enough in a row.</summary>
    Failing,

    /// <summary>Failed as often in a row as it takes.</summary>
    Unwell,

    /// <summary>The last test could not be made.</summary>
    Unable,
}

/// <param name="SinceMs">When the state began (the clock that it is fed with); failing and unwell count from the first failure.</param>
/// <param name="Reason">Of the last result that was not well, or why it rests; empty if there is none.</param>
public sealed record CheckerView(CheckerState State, long SinceMs, int FailuresInRow, string Reason);

/// <summary>One checker on one host: results in, "unwell since, for this reason" out. No I/O and no clock; one owner feeds it.</summary>
/// <remarks>
/// <code>
/// Resting ──VM runs──► Grace ──well──► Well ◄──well── Failing ──as often as it takes──► Unwell
///    ▲                   └──────────failed, grace over──────► Failing                     │ the same number again: asked again
///    └──────────VM ends, or waits for lease or peer: every count begins anew──────────────┘
/// </code>
/// </remarks>
public sealed class CheckerCourse(CheckerSpec spec, long nowMs)
{
    private bool begun;
    private bool rests = true;
    private long graceUntilMs;
    private long firstFailureMs;
    private long dueMs;

    public CheckerSpec Spec => spec;

    public CheckerView View { get; private set; } = new(CheckerState.Resting, nowMs, 0, "The VM does not run on this host.");

    /// <summary>When to test next; null: not now.</summary>
    public long? DueMs => rests ? null : dueMs;

    /// <summary>Names an uninterrupted time of testing: a result of an earlier one is of no use.</summary>
    public long Round { get; private set; }

    /// <summary>When failures begin to count after the start of the VM.</summary>
    public long GraceUntilMs => graceUntilMs;

    /// <summary>The VM runs and answers for itself. With each start of the VM its grace begins.</summary>
    public void Run(long nowMs)
    {
        if (!rests)
            return;
        rests = false;
        Round++;
        dueMs = nowMs;
        if (!begun)
            graceUntilMs = nowMs + spec.GraceMs;
        begun = true;
        View = new(CheckerState.Grace, nowMs, 0, "");
    }

    /// <summary>Nothing is tested for now.</summary>
    /// <param name="ended">The VM does not run: its next start has a grace again.</param>
    public void Rest(long nowMs, string reason, bool ended)
    {
        begun &= !ended;
        if (rests && View.Reason == reason)
            return;
        if (!rests)
            Round++;
        rests = true;
        View = new(CheckerState.Resting, nowMs, 0, reason);
    }

    /// <returns>What the role machine is to hear, or null.</returns>
    public RoleInput.Unwell? Take(long nowMs, long round, CheckResult result)
    {
        if (rests || round != Round)
            return null;
        dueMs = nowMs + spec.EveryMs;
        if (result.Outcome == CheckOutcome.Well)
            Show(nowMs, CheckerState.Well, 0, "");
        else if (result.Outcome == CheckOutcome.Unable)
            Show(nowMs, CheckerState.Unable, View.FailuresInRow, result.Reason);
        else if (nowMs < graceUntilMs)
            Show(nowMs, CheckerState.Grace, 0, result.Reason);
        else
            return Failed(nowMs, result.Reason);
        return null;
    }

    private RoleInput.Unwell? Failed(long nowMs, string reason)
    {
        var failures = View.FailuresInRow + 1;
        if (failures == 1)
            firstFailureMs = nowMs;
        View = new(failures < spec.Failures ? CheckerState.Failing : CheckerState.Unwell, firstFailureMs, failures, reason);
        // What could not be done the first time may be possible later.
        return failures % spec.Failures == 0 ? new RoleInput.Unwell(spec.Name, spec.Then, reason) : null;
    }

    private void Show(long nowMs, CheckerState state, int failures, string reason) =>
        View = new(state, View.State == state ? View.SinceMs : nowMs, failures, reason);
}
