namespace Pollux.DataPlane.Core.Roles;

/// <summary>What an operator asks for once, of a host that serves: swap, restart, full resync. One at a time; each ends with its reason.</summary>
public sealed partial class RoleMachine
{
    /// <summary>Commands remembered by id, so that a repeated one is not done twice.</summary>
    private const int CommandsRememberedMax = 16;

    private readonly Queue<Guid> commandsSeen = new();

    private Guid? swap;
    private long swapLookUntilMs;

    private Guid? restart;

    /// <summary>The VM has ended for the restart, and is to be started again.</summary>
    private bool restartStopped;

    private Guid? fullResync;
    private long fullLookUntilMs;

    /// <summary>No resync by marks can follow any more: the base that they count from is another one now.</summary>
    private bool baseChanged;

    private bool CommandOpen => swap is not null || restart is not null || fullResync is not null;

    private void OnCommand(RoleInput.Command command)
    {
        if (commandsSeen.Contains(command.OperationId))
            return;
        if (commandsSeen.Count == CommandsRememberedMax)
            commandsSeen.Dequeue();
        commandsSeen.Enqueue(command.OperationId);
        if (WhyNot(command.Kind) is { } why)
        {
            Emit(new RoleEffect.CommandDone(command.OperationId, false, why));
            return;
        }

        switch (command.Kind)
        {
            case RoleCommand.Swap: BeginSwap(command.OperationId); break;
            case RoleCommand.Restart: BeginRestart(command.OperationId); break;
            case RoleCommand.FullResync: BeginFullResync(command.OperationId); break;
        }
    }

    private string? WhyNot(RoleCommand kind) => kind switch
    {
        _ when CommandOpen => $"A {(swap is not null ? "swap" : restart is not null ? "restart" : "full resync")} is under way.",
        RoleCommand.Swap => PrimReady ? null : $"This host is {View.Role} ({View.Code}); a swap needs PRIM, ready.",
        RoleCommand.Restart => phase == Phase.Serving && Wanted && !frozen ? null
            : $"This host is {View.Role} ({View.Code}); a restart needs a host that serves the module and is not paused.",
        RoleCommand.FullResync => phase == Phase.Serving && Wanted && !frozen ? null
            : $"This host is {View.Role} ({View.Code}); a full resync needs a host that serves the module and is not paused.",
        _ => $"Unknown command {kind}.",
    };

    private void BeginSwap(Guid operationId)
    {
        swap = operationId;
        swapLookUntilMs = nowMs + timings.DetectionMs;
        cause = "The operator asked for a swap.";
    }

    private void EndSwap(bool succeeded, string reason)
    {
        if (swap is not { } operationId)
            return;
        swap = null;
        TellEnd(operationId, succeeded, reason);
    }

    private void GiveUpSwap(string reason)
    {
        if (swap is null)
            return;
        cause = $"The swap was given up. {reason}";
        EndSwap(succeeded: false, reason);
    }

    /// <summary>Swap: the VM, then everything flushed on both hosts, then the handover. Until it is asked it can be given up; from then on
    /// it has to be decided (S11).</summary>
    private bool TurnSwap()
    {
        if (open is { Change: RecordChange.Handover })
            return false;
        if (peerLost is not null || !Record.Contains(peer) || frozen)
        {
            GiveUpSwap(peerLost ?? "The peer is no member any more.");
            return true;
        }

        if (work == Work.Running || (work == Work.Off && quiesce == Quiesce.None))
        {
            // The VM is not stopped for an arbiter that is away.
            LookIfDue();
            Due(swapLookUntilMs);
            if (!LookFresh && nowMs < swapLookUntilMs)
                return false;
            if (!LookFresh)
            {
                GiveUpSwap("The arbiter cannot be reached.");
                return true;
            }
        }

        if (work != Work.Off)
        {
            if (stopFails || (work == Work.Stopping && nowMs >= stopUntilMs))
            {
                stopFails = false;
                work = Work.Starting;
                GiveUpSwap($"The VM does not stop. {workloadReason}");
                Emit(new RoleEffect.StartWorkload(Record.Epoch));
                return true;
            }

            return BeginStop(timings.GracefulStopMs);
        }

        if (!QuiesceEnded(out var asked))
            return asked;
        if (quiesce != Quiesce.Done)
        {
            GiveUpSwap("The copies could not be flushed in time.");
            return true;
        }

        Due(askNotBeforeMs);
        if (!Durable || open is not null || nowMs < askNotBeforeMs)
            return false;
        Ask(RecordChange.Handover);
        return true;
    }

    /// <summary>The operator's word ends what keeps the VM down: its crashes, its own shutdown.</summary>
    private void BeginRestart(Guid operationId)
    {
        restart = operationId;
        restartStopped = false;
        ForgetCrashes();
        shutDown = false;
        cause = "The operator asked for a restart of the VM.";
    }

    private void EndRestart(bool succeeded, string reason)
    {
        if (restart is not { } operationId)
            return;
        restart = null;
        TellEnd(operationId, succeeded, reason);
    }

    /// <summary>Restart: the VM ends in order and is started again; the volume is served all the time, so nothing is flushed or handed over.</summary>
    private bool TurnRestart()
    {
        if (!restartStopped)
        {
            if (frozen && work != Work.Stopping)
            {
                EndRestart(succeeded: false, cause); // Paused without a lease: its memory is kept.
                return true;
            }

            if (work != Work.Off)
                return BeginStop(timings.GracefulStopMs);
            restartStopped = true;
            startNotBeforeMs = nowMs;
            return true;
        }

        if (failed || shutDown)
            EndRestart(succeeded: false, cause);
        else if (work == Work.Running)
            EndRestart(succeeded: true, "The VM was stopped and started again.");
        else
            return TurnRunning();
        return true;
    }

    private void BeginFullResync(Guid operationId)
    {
        fullResync = operationId;
        fullLookUntilMs = nowMs + timings.DetectionMs;
        baseChanged = false;
    }

    private void EndFullResync(bool succeeded, string reason)
    {
        if (fullResync is not { } operationId)
            return;
        fullResync = null;
        Emit(new RoleEffect.CommandDone(operationId, succeeded, reason));
    }

    /// <summary>The base first, durably: should this host end in between, the peer's next resync is a full one all the same. Then the peer leaves
    /// the set and its session ends; the next session finds bases that differ.</summary>
    private bool TurnFullResync()
    {
        if (fullResync is null)
            return false;
        if (!Wanted)
        {
            EndFullResync(succeeded: false, "The operator wants the module stopped.");
            return true;
        }

        if (!baseChanged)
        {
            if (PeerMayBeMember && !LookFresh)
            {
                // A member is not given up for an arbiter that is away.
                LookIfDue();
                Due(fullLookUntilMs);
                if (nowMs < fullLookUntilMs)
                    return false;
                EndFullResync(succeeded: false, "The arbiter cannot be reached.");
                return true;
            }

            ForgetResync(); // What a running one would prove counts from the base of before.
            baseChanged = true;
            Save(State with { SyncBase = configuration.NewOperationId(), PendingSyncBase = Guid.Empty });
            return true;
        }

        if (!Durable)
            return false;
        if (PeerMayBeMember)
        {
            var known = peerLost is not null;
            peerLost ??= "The operator asked for a full resync.";
            return !known;
        }

        if (attached || peerHolds)
        {
            DetachPeer();
            return true;
        }

        EndFullResync(succeeded: true, $"{peer} is out of the in-sync set; its next resync compares and copies everything.");
        return true;
    }
}
