using Pollux.DataPlane.Core.Roles;
using ArbiterRequest = Pollux.DataPlane.Core.Roles.ArbiterRequest;

namespace Pollux.Tests.Simulation.Exhaustive;

internal enum Attach
{
    No,
    InSync,
    Resync,
}

internal enum Machine
{
    Off,
    Starting,
    Running,
}

/// <summary>One host of the model: the production role machine, and in place of everything around it a few flags. Arrays are replaced, never
/// changed, so that copies share them.</summary>
internal sealed class PairHost
{
    public RoleMachine? Role;

    /// <summary>The machine belongs to this state alone; otherwise it is copied before it is fed.</summary>
    public bool RoleOwned;

    // The durable store.
    public LocalState Stored = LocalState.Fresh;
    public (long Version, LocalState State)[] Unstored = [];

    /// <summary>A deliberate break: confirmed, and stored only with the next step of time.</summary>
    public LocalState? Confirmed;

    public bool Powered = true;
    public bool Booted;
    public bool Frozen;
    public Guid Incarnation;

    // The copy: what it holds, what of it is stable, and the durable mark (or active extent) over it.
    public long Copy;
    public long Stable;
    public bool Marked;

    // The VM. A host whose process is dead keeps it as the guard does: to the end of the lease.
    public Machine Vm;
    public bool VmPaused;
    public bool VmStopAsked;
    public long LeaseUntilMs;

    // The engine of the process.
    public bool Opening;
    public bool Serves;
    public long Epoch;
    public bool Holds;
    public Attach Attach;
    public bool IoFrozen;
    public bool QuiesceAsked;
    public bool Quiesced;
    public long Writing;
    public bool Follows;
    public bool FollowEnding;
    public long FollowEpoch;
    public bool Releasing;

    /// <summary>Was told to end, and has no more to say.</summary>
    public bool MayEnd;

    // On the way from this host.
    public bool CutTowardsPeer;
    public bool CutFromArbiter;
    public (Beacon Beacon, long SentMs)[] Beacons = [];
    public (BeaconAnswer Answer, long SentMs)[] Answers = [];
    public ArbiterRequest[] Requests = [];
    public ArbiterAnswer[] Replies = [];

    public bool Up => Role is not null && !Frozen;

    public PairHost Copied()
    {
        var copy = (PairHost)MemberwiseClone();
        copy.RoleOwned = false;
        return copy;
    }

    /// <summary>What dies with the process.</summary>
    public void ForgetProcess()
    {
        Role = null;
        Unstored = [];
        Confirmed = null;
        Frozen = Opening = Serves = Holds = IoFrozen = QuiesceAsked = Quiesced = Follows = FollowEnding = Releasing = VmStopAsked = MayEnd = false;
        Attach = Attach.No;
        Epoch = Writing = FollowEpoch = 0;
        Requests = [];
        Replies = [];
    }

    public void Write(CanonicalWriter to)
    {
        to.Flag(Role is not null);
        to.Flag(Powered);
        to.Flag(Booted);
        to.Flag(Frozen);
        to.Name(Incarnation);
        to.State(Stored);
        to.Number(Unstored.Length);
        foreach (var (_, state) in Unstored)
            to.State(state);
        to.Flag(Confirmed is not null);
        if (Confirmed is not null)
            to.State(Confirmed);
        to.Version(Copy);
        to.Version(Stable);
        to.Flag(Marked);
        to.Number((int)Vm);
        to.Flag(VmPaused);
        to.Flag(VmStopAsked);
        to.Time(LeaseUntilMs, Pair.StepMs);
        to.Flag(Opening);
        to.Flag(Serves);
        to.Epoch(Epoch);
        to.Flag(Holds);
        to.Number((int)Attach);
        to.Flag(IoFrozen);
        to.Flag(QuiesceAsked);
        to.Flag(Quiesced);
        to.Version(Writing);
        to.Flag(Follows);
        to.Flag(FollowEnding);
        to.Epoch(FollowEpoch);
        to.Flag(Releasing);
        to.Flag(MayEnd);
        to.Flag(CutTowardsPeer);
        to.Flag(CutFromArbiter);
        to.Number(Beacons.Length);
        foreach (var (beacon, sentMs) in Beacons)
        {
            to.Beacon(beacon);
            to.Time(sentMs, 3 * Pair.StepMs);
        }

        to.Number(Answers.Length);
        foreach (var (answer, sentMs) in Answers)
        {
            to.Name(answer.BeaconIncarnation);
            to.Name(answer.AnswererIncarnation);
            to.Time(sentMs, 3 * Pair.StepMs);
        }

        to.Number(Requests.Length);
        foreach (var request in Requests)
            to.Request(request);
        to.Number(Replies.Length);
        foreach (var reply in Replies)
        {
            to.Name(reply.OperationId);
            to.Number((int)reply.Outcome);
            to.Record(reply.Record!);
        }

        if (Role is not null)
            MachineImage.Write(Role, to);
    }
}
