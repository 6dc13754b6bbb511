namespace Pollux.DataPlane.Core.Replication;

/// <summary>Everything that a machine has done. Calls only queue: none calls back into the machine, none waits, and whatever it leads to
/// comes back later as an input. The shell executes what was queued in the order given, except where a part says otherwise.</summary>
public interface IEngineEffects : ILocalCopy, IMarksStore, IPeerLink, IFrontEnd, IEngineEvents;

/// <summary>Ends of front ends' operations; exactly one each.</summary>
public interface IFrontEnd
{
    /// <param name="errno">0, or a positive Linux error number.</param>
    /// <param name="count">Bytes written (writes only).</param>
    void Complete(OperationTag tag, int errno, int count);

    /// <param name="attributes">Of the object concerned, on success.</param>
    void CompleteMutation(OperationTag tag, int errno, in ObjectAttributes attributes);
}

/// <summary>What the role machine has to know; each becomes the <see cref="Roles.RoleInput"/> of the same name.</summary>
public interface IEngineEvents
{
    void SessionUp(Guid peerIncarnation);
    void SessionLost(string reason);
    void ResyncStarting(Guid syncBase);
    void ReplicaFlushed(Guid syncBase);
    void PeerCaughtUp(Guid syncBase);
    void Quiesced();

    /// <summary>Once in a machine's life: this copy has failed.</summary>
    void LocalFault(string reason);

    /// <summary>The end of Stop: nothing of the machine runs; no further effect comes.</summary>
    void Stopped();
}

/// <summary>What a machine may ask at any time. Answers are immediate and without I/O.</summary>
public interface IEngineSurroundings
{
    /// <summary>The durable state of the module on this host; the role machine owns it.</summary>
    Roles.LocalState State { get; }

    /// <summary>A name that nobody else has: of a session, of a sync base.</summary>
    Guid NewGuid();

    /// <summary>From 0 (inclusive) to 1 (exclusive), for the jitter of pauses.</summary>
    double NextUnit();

    /// <summary>A front end still uses the object: a lookup or an open file.</summary>
    bool IsReferenced(ulong obj);
}
