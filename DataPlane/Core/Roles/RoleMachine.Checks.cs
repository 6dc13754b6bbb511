namespace Pollux.DataPlane.Core.Roles;

/// <summary>What a checker of this host asks for when the workload is not well: a restart, or a move to the peer.</summary>
/// <remarks>
/// A checker decides nothing of rules S1 to S12: it asks for what an operator may ask for as well, on the host that serves, and less often. Both
/// actions count as crashes of the workload. Past the limit of restarts one that is to be restarted stays down, and one that is to be moved runs on
/// where it is: so nothing is restarted or moved for ever. What cannot be done now is said, and may be asked again.
/// </remarks>
public sealed partial class RoleMachine
{
    /// <summary>The restart or swap that is under way because of a checker, or null.</summary>
    private Guid? checkCommand;
    private string? checker;
    private CheckAction checkAction;

    private void OnUnwell(RoleInput.Unwell unwell)
    {
        if (WhyNoCheck() is { } why)
        {
            Emit(new RoleEffect.CheckAnswered(unwell.Checker, unwell.Action, CheckAnswer.Noted, why));
            return;
        }

        var reason = $"The checker {unwell.Checker} failed: {unwell.Reason}";
        if (unwell.Action == CheckAction.Move)
            MoveAway(unwell, reason);
        else
            RestartUnwell(unwell, reason);
    }

    /// <summary>The rest must be well, or the failure says nothing of the workload: what waits for a lease or for the peer answers nobody.</summary>
    private string? WhyNoCheck() =>
        State.Policy.ChecksOff ? "The operator has switched the checkers off."
        : phase != Phase.Serving || !Wanted || work != Work.Running || failed || shutDown ? $"The VM does not run on this host ({View.Code})."
        : hostStops ? "This host is shut down."
        : CommandOpen ? "A command is under way."
        : frozen || !LeaseOrNoneNeeded || nowMs - thawedMs < timings.DetectionMs ? "The VM is or was paused, because there was no lease."
        : peerLost is not null && PeerMayBeMember ? "Writes wait: the peer is lost."
        : null;

    private bool LeaseOrNoneNeeded => !LeaseNeeded || LeaseValid;

    private void RestartUnwell(RoleInput.Unwell unwell, string reason)
    {
        BeginCheckCommand(unwell);
        restart = checkCommand;
        restartStopped = false;
        CountTry(reason);
        cause = failed
            ? $"{reason} The VM is stopped and stays down: it was to be started again {crashes.Count} times within {RestartWindow}, and the limit is {State.Policy.RestartsMax}."
            : $"{reason} The VM is stopped and started again ({crashes.Count} of {State.Policy.RestartsMax} times within {RestartWindow}).";
        Emit(new RoleEffect.CheckAnswered(unwell.Checker, unwell.Action, CheckAnswer.Begun, cause));
    }

    private void MoveAway(RoleInput.Unwell unwell, string reason)
    {
        ForgetOldTries();
        var why = crashes.Count >= State.Policy.RestartsMax ? $"It was moved or started again {crashes.Count} times within {RestartWindow}, and the limit is {State.Policy.RestartsMax}."
            : !PrimReady ? $"The peer is not ready to take the module ({View.Code})."
            : PeerNow is not { Ready: true, Role: Role.Second, StopRequested: false, Leaves: false } ? "The peer is not a ready secondary."
            : null;
        if (why is not null)
        {
            Emit(new RoleEffect.CheckAnswered(unwell.Checker, unwell.Action, CheckAnswer.Noted, why));
            return;
        }

        BeginCheckCommand(unwell);
        BeginSwap(checkCommand!.Value);
        CountTry(reason);
        cause = $"{reason} The module moves to {peer} ({crashes.Count} of {State.Policy.RestartsMax} times within {RestartWindow}).";
        Emit(new RoleEffect.CheckAnswered(unwell.Checker, unwell.Action, CheckAnswer.Begun, cause));
    }

    private void BeginCheckCommand(RoleInput.Unwell unwell) =>
        (checkCommand, checker, checkAction) = (configuration.NewOperationId(), unwell.Checker, unwell.Action);

    /// <summary>To whom asked: the operator, or the checkers of this host.</summary>
    private void TellEnd(Guid operationId, bool succeeded, string reason)
    {
        if (operationId != checkCommand)
        {
            Emit(new RoleEffect.CommandDone(operationId, succeeded, reason));
            return;
        }

        Emit(new RoleEffect.CheckAnswered(checker!, checkAction, succeeded ? CheckAnswer.Done : CheckAnswer.GivenUp, reason));
        (checkCommand, checker) = (null, null);
    }
}
