using Pollux.DataPlane.Core.Roles;
using Pollux.Tests.Simulation.Model;

namespace Pollux.Tests.Simulation.Exhaustive;

/// <summary>The replication engine in the words of the rules: marks, a session, one write under way.</summary>
internal sealed partial class Pair
{
    private void Replicate(What what, int host)
    {
        var it = hosts[host];
        switch (what)
        {
            case What.GuestWrites: GuestWrites(host); break;
            case What.FrameApplied:
                it.Copy = it.Stable = session!.Frame;
                session = session with { Frame = 0, Applied = it.Copy };
                break;
            case What.WriteEnds: WriteEnds(host); break;
            case What.SessionBegins: SessionBegins(host); break;
            case What.TargetStarts:
                session = session! with { TargetStarted = true };
                Feed(host, new RoleInput.ResyncStarting(session.SyncBase));
                break;
            case What.MarksUnited: MarksUnited(host); break;
            case What.Copied:
                CheckOverwritten(host);
                it.Copy = hosts[Other(host)].Copy;
                break;
            case What.TargetFlushed: TargetFlushed(host); break;
            case What.CaughtUp: CaughtUp(host); break;
            case What.SourceEndCloses: SourceEndCloses(host); break;
            case What.TargetEndCloses: CloseTargetEnd(host); break;
            default: throw new InvalidOperationException($"{what} is not known.");
        }
    }

    private void GuestWrites(int host)
    {
        var it = hosts[host];
        writesLeft--;
        inDoubt = ++named;
        // S6: the mark is durable before the data is written anywhere.
        it.Marked |= sabotage != Sabotage.SkipActivityLog;
        it.Copy = it.Writing = inDoubt;
        if (MirrorsTo(host))
            session = session! with { Frame = inDoubt };
    }

    private void WriteEnds(int host)
    {
        var it = hosts[host];
        var written = it.Writing;
        it.Stable = written;
        it.Writing = 0;
        if (it.Vm == Machine.Running)
        {
            CheckAcknowledged(host, written);
            acknowledged = written;
            inDoubt = 0;
        }

        if (session is { SourceOpen: true } current && current.Source == host && current.Applied == written)
        {
            session = current with { Applied = 0 };
            if (current.Phase == SessionPhase.InSync)
                ClearMarks(host, "after a flush on both hosts");
        }
    }

    private void ClearMarks(int host, string when)
    {
        CheckEqual(when);
        hosts[host].Marked = false;
    }

    private void SessionBegins(int host)
    {
        var it = hosts[host];
        var target = hosts[Other(host)];
        if (it.Attach == Attach.InSync)
        {
            if (it.Writing == 0)
                CheckEqual("a session begins in sync");
            session = new Session(host, SessionPhase.InSync, it.Stored.SyncBase, ByMarks: true) { Frame = it.Writing };
            Feed(host, new RoleInput.SessionUp(target.Incarnation));
            return;
        }

        var theirs = target.Stored.SyncBase;
        var byMarks = theirs != Guid.Empty && (theirs == it.Stored.SyncBase || theirs == it.Stored.PendingSyncBase);
        session = new Session(host, SessionPhase.Starting, NewName(), byMarks);
        Feed(host, new RoleInput.SessionUp(target.Incarnation));
        if (session is { SourceOpen: true } mine && mine.Source == host)
            Feed(host, new RoleInput.ResyncStarting(mine.SyncBase));
    }

    private void MarksUnited(int host)
    {
        var target = hosts[Other(host)];
        var marked = !session!.ByMarks || hosts[host].Marked || (target.Marked && sabotage != Sabotage.MarksNotUnited);
        hosts[host].Marked = marked;
        session = session with { Phase = SessionPhase.Copying };
        if (!marked && hosts[host].Writing == 0)
            CheckEqual("a resync finds nothing marked");
    }

    /// <summary>Nothing is left to copy: from here on acknowledgements wait for the target, and both flush.</summary>
    private void TargetFlushed(int host)
    {
        var source = session!.Source;
        hosts[source].Holds = true;
        hosts[source].Stable = hosts[source].Copy;
        hosts[host].Stable = hosts[host].Copy;
        CheckEqual("the target has flushed");
        session = session with { Phase = SessionPhase.Final };
        Feed(host, new RoleInput.ReplicaFlushed(session.SyncBase));
    }

    private void CaughtUp(int host)
    {
        session = session! with { Phase = SessionPhase.InSync };
        if (hosts[host].Writing == 0)
        {
            ClearMarks(host, "the peer has caught up");
            hosts[Other(host)].Marked = false;
        }

        Feed(host, new RoleInput.PeerCaughtUp(session.SyncBase));
    }

    private void SourceEndCloses(int host)
    {
        var it = hosts[host];
        if (session!.Phase == SessionPhase.InSync)
            it.Attach = Attach.No; // The peer may be a member: held until the machine says otherwise.
        else
            it.Holds = false;
        CloseSourceEnd(host);
        Feed(host, new RoleInput.SessionLost("the link"));
    }
}
