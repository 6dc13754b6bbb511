using Pollux.DataPlane.Core.Roles;

namespace Pollux.DataPlane.Core.Replication;

public enum SessionMode : byte
{
    /// <summary>Both copies are equal and the replica is in the record: writing goes on where it was (after a handover).</summary>
    InSync = 1,

    /// <summary>The replica is out of the record: what differs is copied first.</summary>
    Resync,

    /// <summary>A session whose link ended goes on over another: only to the process that had it. The sequence of HelloAnswer says up to where
    /// it has applied the stream.</summary>
    Resumed,
}

/// <summary>The first frame of a session, from the host that serves the volume.</summary>
/// <param name="Module">Key of the mirror module.</param>
/// <param name="Session">Names this connection; a newer one replaces it (rule S1).</param>
/// <param name="Incarnation">Names the run of the sender's process.</param>
/// <param name="RecordIncarnation">Identity of the arbiter's record (rule S10).</param>
/// <param name="SyncBase">See <see cref="LocalState.SyncBase"/>.</param>
public sealed record Hello(
    string Module, Guid Session, Guid Incarnation, long Epoch, Guid RecordIncarnation, Guid SyncBase, Guid PendingSyncBase, SessionMode Mode)
{
    /// <summary>Version of the replication protocol. Another one is refused: both hosts of a cluster run the same release except while
    /// they are updated, and then the pair waits for the second host.</summary>
    public const int ProtocolVersion = 3;

    public const int ModuleBytesMax = 512;

    /// <summary>Directories of the module (<see cref="ModuleRoots"/>).</summary>
    public int Directories { get; init; } = 1;

    /// <summary>Of <see cref="SessionMode.Resumed"/>: names the first session of the unbroken sequence of frames.</summary>
    public Guid Stream { get; init; }

    public int Write(Span<byte> payload)
    {
        var writer = new WireWriter(payload);
        writer.Int32(ProtocolVersion);
        writer.Text(Module);
        writer.Guid(Session);
        writer.Guid(Incarnation);
        writer.Int64(Epoch);
        writer.Guid(RecordIncarnation);
        writer.Guid(SyncBase);
        writer.Guid(PendingSyncBase);
        writer.Byte((byte)Mode);
        writer.Int32(Directories);
        if (Mode == SessionMode.Resumed)
            writer.Guid(Stream);
        return writer.Length;
    }

    /// <summary>Null if the payload is not a Hello of this version; <paramref name="version"/> then says which it claims to be.</summary>
    public static Hello? Read(ReadOnlySpan<byte> payload, out int version)
    {
        var reader = new WireReader(payload);
        version = reader.Int32();
        if (version != ProtocolVersion)
            return null;
        var hello = new Hello(
            reader.Text(ModuleBytesMax), reader.Guid(), reader.Guid(), reader.Int64(), reader.Guid(), reader.Guid(), reader.Guid(),
            (SessionMode)reader.Byte())
        {
            Directories = reader.Int32(),
        };
        if (hello.Mode == SessionMode.Resumed)
            hello = hello with { Stream = reader.Guid() };
        return reader.Complete && Enum.IsDefined(hello.Mode) ? hello : null;
    }
}

/// <summary>The replica's answer: what it knows of its own copy. Its marks follow in MarksChunk frames, then Ready.</summary>
/// <param name="MarksDamaged">Its marks were lost: everything may differ (rule S6).</param>
public sealed record HelloAnswer(Guid Incarnation, Guid SyncBase, DataState DataState, long RecordEpoch, bool MarksDamaged)
{
    /// <summary>Of the full resync in which this copy is, and by which alone it has changed since (<see cref="ResyncClaim"/>); empty if none.</summary>
    public Guid ResyncBase { get; init; }

    public int Write(Span<byte> payload)
    {
        var writer = new WireWriter(payload);
        writer.Guid(Incarnation);
        writer.Guid(SyncBase);
        writer.Byte((byte)DataState);
        writer.Int64(RecordEpoch);
        writer.Byte(MarksDamaged ? (byte)1 : (byte)0);
        writer.Guid(ResyncBase);
        return writer.Length;
    }

    public static HelloAnswer? Read(ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        var answer = new HelloAnswer(reader.Guid(), reader.Guid(), (DataState)reader.Byte(), reader.Int64(), reader.Byte() != 0)
        {
            ResyncBase = reader.Guid(),
        };
        return reader.Complete && Enum.IsDefined(answer.DataState) ? answer : null;
    }
}

public enum RefusalCode : byte
{
    ProtocolVersion = 1,
    UnknownModule,

    /// <summary>The authenticated host is not the module's peer.</summary>
    NotThePeer,

    /// <summary>The replica side is not open now; it may be later.</summary>
    NotFollowing,

    /// <summary>The epoch is older than one this host knows (rule S1).</summary>
    OlderEpoch,

    /// <summary>Another identity of the arbiter's record (rule S10).</summary>
    ForeignRecord,

    /// <summary>An in-sync session was asked for and the copies are not known to be equal.</summary>
    NotInSync,
    Malformed,
    Busy,

    /// <summary>The hosts do not have the same number of directories for the module.</summary>
    OtherDirectories,
}

/// <summary>Why a session is not accepted.</summary>
public sealed record Refusal(RefusalCode Code, string Text)
{
    public const int TextBytesMax = 1024;

    /// <summary>The cause may go away by itself within moments.</summary>
    public bool Passing => Code is RefusalCode.NotFollowing or RefusalCode.Busy or RefusalCode.UnknownModule;

    public int Write(Span<byte> payload)
    {
        var writer = new WireWriter(payload);
        writer.Byte((byte)Code);
        writer.Text(Text.Length > TextBytesMax / 4 ? Text[..(TextBytesMax / 4)] : Text);
        return writer.Length;
    }

    public static Refusal? Read(ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        var refusal = new Refusal((RefusalCode)reader.Byte(), reader.Text(TextBytesMax));
        return reader.Complete ? refusal : null;
    }
}

/// <summary>Why a replica ended a session: the frame that it could not apply.</summary>
/// <param name="ErrorNumber">A Linux error number, or 0 for a breach of the protocol.</param>
public sealed record Failure(int ErrorNumber, string Reason)
{
    public int Write(Span<byte> payload)
    {
        var writer = new WireWriter(payload);
        writer.Int32(ErrorNumber);
        writer.Text(Reason.Length > Refusal.TextBytesMax / 4 ? Reason[..(Refusal.TextBytesMax / 4)] : Reason);
        return writer.Length;
    }

    public static Failure? Read(ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        var failure = new Failure(reader.Int32(), reader.Text(Refusal.TextBytesMax));
        return reader.Complete ? failure : null;
    }
}
