namespace Pollux.DataPlane.Core.Roles;

/// <summary>What an earlier process of this host has left: a volume whose users wait, and perhaps a workload.</summary>
/// <remarks>
/// The workload executes with the lease that the peer gave to the earlier process, and the guard ends that at its time (S8); its I/O waits,
/// because nothing is answered before this process is primary, and it becomes that in no other way than any host (S3): by a takeover to
/// epoch + 1, which it asks as the recorded primary. Then the users go on. Whatever else becomes known first (the peer has taken over, the
/// module is stopped, this copy is not to be used) ends workload and volume, and only then this host follows or waits.
/// </remarks>
public sealed partial class RoleMachine
{
    private bool volumeHeld;

    /// <summary>While this host serves nothing: gives up what was left if this host cannot become primary again.</summary>
    private bool TurnKept()
    {
        if (!volumeHeld)
            return false;
        if (!Wanted)
            return Leave(RoleCodes.Stopping, "The operator wants the module stopped.");
        if (Faulted)
            return Leave(RoleCodes.LocalFault, faultReason);
        if (Record.Primary == self && Record.Contains(self) && State.DataState == DataState.UpToDate && !Promised)
            return false;
        return Leave(RoleCodes.Deposed, $"The process restarted, and this host is not the primary any more: {Record}, {State.DataState}.");
    }

    /// <summary>The users go on, the workload with the new epoch's right to execute.</summary>
    private void GoOn()
    {
        if (!volumeHeld)
            return;
        volumeHeld = false;
        if (work != Work.Running)
            return;
        TurnLease();
        Emit(new RoleEffect.ResumeWorkload());
    }
}
