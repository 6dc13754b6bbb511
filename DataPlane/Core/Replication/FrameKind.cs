namespace Pollux.DataPlane.Core.Replication;

/// <summary>What a frame is. "Source" is the host that serves the volume, "replica" the one that follows.</summary>
/// <remarks>
/// A session, source on the left:
/// <code>
/// Hello ─────────────────►
///        ◄───────────────── Refused, or HelloAnswer, MarksChunk…, Ready
/// ResyncBegin ───────────►                       only for a session that resyncs
///        ◄───────────────── Ready                (the replica has stored Inconsistent)
/// ManifestChunk… ────────►
///        ◄───────────────── ManifestApplied…
/// HashRequest ───────────►                       where both hosts may have the same already, and in a verify
///        ◄───────────────── HashAnswer
/// EntriesRequest ────────►                       in a verify
///        ◄───────────────── EntriesAnswer
/// ResyncData, ResyncHole ►                       beside Write, Mutation
/// ResyncFinal ───────────►
///        ◄───────────────── ReplicaUpToDate      (the replica is flushed and has stored UpToDate)
/// Write, Mutation, Flush ►
///        ◄───────────────── Ack, FlushAck
/// EpochChanged, Ping ────►
///        ◄───────────────── Failed               (the session ends)
/// </code>
/// </remarks>
public enum FrameKind : byte
{
    Hello = 1,
    HelloAnswer,

    /// <summary>The session is not accepted: a code and a text.</summary>
    Refused,

    /// <summary>Ranges that the replica's own marks name (rule S6).</summary>
    MarksChunk,

    /// <summary>The replica has said, or stored, all it has to; the source may go on.</summary>
    Ready,
    ResyncBegin,
    ManifestChunk,

    /// <summary>Objects whose whole content must come. <see cref="FrameFlags.Last"/> ends the list.</summary>
    ManifestApplied,
    Write,
    Mutation,

    /// <summary>Makes everything with a lower sequence stable; done beside what follows.</summary>
    Flush,
    ResyncData,
    ResyncHole,
    ResyncFinal,
    ReplicaUpToDate,
    EpochChanged,

    /// <summary>Everything up to the sequence is applied.</summary>
    Ack,

    /// <summary>The flush with this sequence is stable.</summary>
    FlushAck,

    /// <summary>The frame with this sequence could not be applied: an errno and a reason. The last frame of a session.</summary>
    Failed,

    /// <summary>Asks for an Ack although nothing was sent.</summary>
    Ping,

    /// <summary>Asks for the SHA-256 of a range as it is after all frames with a lower sequence: i32 length, i32 slot.</summary>
    HashRequest,

    /// <summary>i32 slot of the request, then <see cref="RangeHash"/>.</summary>
    HashAnswer,

    /// <summary>Asks what the replica has of a batch of objects, as it is after all frames before: i32 batch, u64 objects.</summary>
    EntriesRequest,

    /// <summary>i32 batch, then an <see cref="EntryDigest"/> of each.</summary>
    EntriesAnswer,
}

[Flags]
public enum FrameFlags : byte
{
    None = 0,

    /// <summary>The last of several chunks.</summary>
    Last = 1,

    /// <summary>Flush: data and size only, as fdatasync.</summary>
    DataOnly = 2,

    /// <summary>ResyncBegin: everything is copied, not only what is marked.</summary>
    Full = 4,

    /// <summary>ResyncBegin: a full resync that was cut off goes on by marks (<see cref="ResyncClaim"/>).</summary>
    Resumed = 8,
}
