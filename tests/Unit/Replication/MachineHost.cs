using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Unit.Replication;

/// <summary>A host whose shell is a queue: what a machine has done waits here until the test lets it happen. The copy is a dictionary, the durable
/// marks are two byte arrays, and the link carries sealed frames.</summary>
internal sealed class MachineHost(string name, MachinePairClock clock) : IEngineEffects, IEngineSurroundings
{
    private readonly LinkedList<Effect> _effects = new();
    private readonly Dictionary<int, byte[]> _buffers = [];
    private int _lastBuffer;
    private int _lastGuid;

    public string Name => name;
    public SourceMachine? Source { get; private set; }
    public ReplicaMachine? Replica { get; private set; }
    public MachineHost Peer { get; set; } = null!;
    public MachineLink? Link { get; private set; }
    public LocalState State { get; set; } = LocalState.Fresh;
    public Dictionary<ulong, FakeObject> Objects { get; } = new() { [1] = new FakeObject(0x41ED) };
    public byte[]? Checkpoint { get; set; }
    public byte[]? Log { get; set; }
    public List<string> Events { get; } = [];
    public Dictionary<ulong, int> Completed { get; } = [];
    public Dictionary<ulong, ObjectAttributes> Mutated { get; } = [];
    public HashSet<ulong> Referenced { get; } = [];
    public List<string> Done { get; } = [];
    public long BytesSent { get; private set; }

    /// <summary>Effects for which this holds stay where they are.</summary>
    public Func<string, bool> Held { get; set; } = static _ => false;

    /// <summary>Whether an effect happens now; the order of those that a shell may run side by side is kept.</summary>
    public Func<bool> Chooses { get; set; } = static () => true;

    /// <summary>An error number for an effect, or 0.</summary>
    public Func<string, ulong, int> Fails { get; set; } = static (_, _) => 0;

    /// <summary>False: events are only recorded, the test does the rest.</summary>
    public bool Obliging { get; set; } = true;

    /// <summary>Calls of Dial are answered with a link.</summary>
    public bool Reachable { get; set; } = true;
    public int SendRoom { get; set; } = 8 << 20;
    public int Pending => _effects.Count;

    public EngineOptions Options { get; init; } = new()
    {
        Module = "m", Incarnation = Guid.NewGuid(), Timings = new RoleTimings(4_000), ActivityLogSlots = 128, ResyncFlushBytes = 4 << 20,
    };

    public void Serve(long epoch, bool peerIsMember = false)
    {
        Replica = null;
        Source = new SourceMachine(Options, this, this, Recover(ResyncPart.Source), new SourceStart(epoch, peerIsMember, 0, 0), clock.NowMs);
    }

    public void Follow(long epoch)
    {
        Source = null;
        Replica = new ReplicaMachine(Options, this, this, Recover(ResyncPart.Target), epoch, clock.NowMs);
    }

    /// <summary>The process is gone at once; what was written to the copy and to the files stays.</summary>
    public void Crash()
    {
        _effects.Clear();
        Link?.Break("crashed");
        (Source, Replica, Link) = (null, null, null);
    }

    public void Record(long epoch, string primary, params string[] inSync) =>
        State = State with { Record = new AuthorityRecord(Guid.Parse("11111111-1111-1111-1111-111111111111"), epoch, primary, [.. inSync]) };

    public void Write(ulong tag, ulong obj, long offset, byte[] data) => Source!.Write(new OperationTag(tag, 0), obj, offset, Buffer(data));

    public void Flush(ulong tag, ulong obj = 0) => Source!.Flush(new OperationTag(tag, 0), obj, dataOnly: true);

    public void Mutate(ulong tag, Mutation mutation) => Source!.Mutate(new OperationTag(tag, 0), mutation);

    public bool Run()
    {
        var any = false;
        for (var node = _effects.First; node is not null;)
        {
            var next = node.Next;
            if (!Held(node.Value.What) && Chooses() && !IsBehindItsLike(node))
            {
                _effects.Remove(node);
                Done.Add(node.Value.What);
                node.Value.Run();
                any = true;
                next = _effects.First;
            }
            node = next;
        }
        return any;
    }

    /// <summary>Frames, and what concerns the content of one object, keep their order; bytes are released after what names them.</summary>
    private static bool IsBehindItsLike(LinkedListNode<Effect> node)
    {
        var line = LineOf(node.Value.What);
        for (var earlier = node.Previous; line.Length > 0 && earlier is not null; earlier = earlier.Previous)
        {
            if (LineOf(earlier.Value.What) == line || line == "release")
                return true;
        }
        return false;
    }

    private static string LineOf(string what) => what.Split(' ') switch
    {
        ["send" or "close" or "dial", ..] => "link",
        ["write" or "hole" or "hash", var obj] => obj,
        ["release"] => "release",
        _ => "",
    };

    public bool Receive()
    {
        var any = false;
        while (Link is { } link && Replica is null or { WantsFrames: true } && link.TryReceive(this, out var header, out var payload))
        {
            any = true;
            if (Source is not null)
                Source.FrameArrived(link.NumberAt(this), header, payload);
            else
                Replica?.FrameArrived(link.NumberAt(this), header, payload, Buffer(payload));
        }
        if (Link is { EndReason: { } reason } ended && ended.Drained(this))
        {
            Link = null;
            Source?.LinkEnded(ended.NumberAt(this), reason);
            Replica?.LinkEnded(ended.NumberAt(this), reason);
            any = true;
        }
        return any;
    }

    public void FinishTurn()
    {
        Source?.FinishTurn();
        Replica?.FinishTurn();
    }

    public void Accept(MachineLink link, Hello hello)
    {
        // It may have crashed since it was dialled.
        if (Replica is null)
        {
            link.Break("nobody follows here");
            return;
        }
        Link = link;
        Replica.Accepted(link.NumberAt(this), hello);
    }

    private RecoveredMarks Recover(ResyncPart part)
    {
        var marks = RecoveredMarks.Read(Checkpoint, Log, Options.ActivityLogSlots, part, out var refusal);
        Assert.Null(refusal);
        Checkpoint = marks!.CheckpointToStore ?? Checkpoint;
        Log = marks.LogToStore ?? Log;
        return marks;
    }

    private DataRef Buffer(ReadOnlySpan<byte> data)
    {
        _buffers[++_lastBuffer] = data.ToArray();
        return new DataRef(_lastBuffer, 0, data.Length);
    }

    private void Queue(string what, Action run) => _effects.AddLast(new Effect(what, run));

    private int Fault(string what, ulong obj) => Fails(what, obj);

    private ObjectAttributes Attributes(ulong obj) => Objects.TryGetValue(obj, out var found)
        ? new ObjectAttributes(obj, found.Mode, (uint)found.Links.Count, 0, 0, 0, found.Content.Length, 0, 0, 0, 0, 4096)
        : default;

    void ILocalCopy.LocalWrite(int slot, ulong obj, long offsetBytes, DataRef data) => Queue($"write {obj:x}", () =>
    {
        var errno = Fault("write", obj);
        if (errno == 0 && !Objects.ContainsKey(obj))
            errno = LinuxError.Stale;
        if (errno == 0)
            Objects[obj].Write(offsetBytes, _buffers[data.Buffer]);
        Source?.LocalWritten(slot, errno);
        Replica?.LocalWritten(slot, errno);
    });

    void ILocalCopy.LocalFlush(int slot, ulong obj, bool dataOnly) => Queue($"flush {obj:x}", () =>
    {
        var errno = Fault("flush", obj);
        Source?.LocalFlushed(slot, errno);
        Replica?.LocalFlushed(slot, errno);
    });

    void ILocalCopy.LocalMutation(int slot, Mutation mutation) => Queue($"mutation {mutation.Kind}", () =>
    {
        var errno = Fault("mutation", mutation.Object);
        var orphan = 0UL;
        if (errno == 0)
            errno = Apply(mutation, out orphan);
        Source?.LocalMutated(slot, errno, Attributes(mutation.Object), orphan);
        Replica?.LocalMutated(slot, errno, Attributes(mutation.Object), orphan);
    });

    void ILocalCopy.LocalStat(int slot, ulong obj) => Queue($"stat {obj:x}", () =>
        Source?.LocalStatted(slot, Objects.ContainsKey(obj) ? Fault("stat", obj) : LinuxError.Stale, Attributes(obj)));

    void ILocalCopy.LocalRepairRead(int slot, ulong obj, long offsetBytes, int lengthBytes) => Queue($"repair {obj:x}", () =>
    {
        var data = new byte[lengthBytes];
        Objects[obj].Read(offsetBytes, data);
        Source?.LocalRepairRead(slot, Fault("repair", obj), Objects[obj].Content.Length, Buffer(data));
    });

    void ILocalCopy.LocalCopyRead(int slot, ulong obj, long offsetBytes, long lengthBytes) => Queue($"copy {obj:x}", () =>
    {
        var errno = Fault("copy", obj);
        Objects.TryGetValue(obj, out var found);
        var size = found?.Content.Length ?? 0;
        var data = found is null ? -1 : found.Content.AsSpan((int)Math.Min(offsetBytes, size)).IndexOfAnyExcept((byte)0);
        var piece = CopyPiece.Plan(new ObjectRange(obj, offsetBytes, lengthBytes), (uint)(found?.Links.Count ?? 0), size, data < 0 ? long.MaxValue : offsetBytes + data);
        var buffer = default(DataRef);
        if (piece.Kind == CopyPieceKind.Data)
        {
            var bytes = new byte[piece.LengthBytes];
            found!.Read(offsetBytes, bytes);
            buffer = Buffer(bytes);
        }
        Source?.LocalCopyRead(slot, errno, piece, buffer);
    });

    void ILocalCopy.LocalHash(int slot, ulong obj, long offsetBytes, int lengthBytes) => Queue($"hash {obj:x}", () =>
    {
        var errno = Objects.TryGetValue(obj, out var found) ? Fault("hash", obj) : LinuxError.Stale;
        var length = (int)Math.Clamp((found?.Content.Length ?? 0) - offsetBytes, 0, lengthBytes);
        var hash = found is null ? default : RangeHash.From(length, SHA256.HashData(found.Content.AsSpan((int)Math.Min(offsetBytes, found.Content.Length), length)));
        Source?.LocalHashed(slot, errno, hash);
        Replica?.LocalHashed(slot, errno, hash);
    });

    void ILocalCopy.LocalHole(int slot, ulong obj, long offsetBytes, long lengthBytes) => Queue($"hole {obj:x}", () =>
    {
        if (Objects.TryGetValue(obj, out var found))
            found.MakeHole(offsetBytes, lengthBytes);
        Replica?.LocalWritten(slot, found is null ? LinuxError.Stale : 0);
    });

    void ILocalCopy.LocalDescribe(int batch, IReadOnlyList<ulong> objects) => Queue("describe", () =>
    {
        var entries = objects.Select(Describe).ToList();
        Source?.EntriesDescribed(batch, Fault("describe", 0), entries);
        Replica?.EntriesDescribed(batch, Fault("describe", 0), entries);
    });

    private EntryDigest Describe(ulong obj) => !Objects.TryGetValue(obj, out var found) ? default : EntryDigest.Of(
        new ManifestEntry(obj, found.Mode) { Links = [.. found.Links.Select(l => new ManifestLink(l.Parent, Encoding.UTF8.GetBytes(l.Name)))], Xattrs = found.Xattrs },
        from child in Objects
        from link in child.Value.Links
        where link.Parent == obj
        select new ManifestChild(Encoding.UTF8.GetBytes(link.Name), child.Key));

    void ILocalCopy.TakeManifest() => Queue("take manifest", () => Source?.ManifestTaken(null, [.. Objects.Select(o => new ManifestEntry(o.Key, o.Value.Mode)
    {
        SizeBytes = o.Value.Content.Length, Links = [.. o.Value.Links.Select(l => new ManifestLink(l.Parent, Encoding.UTF8.GetBytes(l.Name)))],
    })]));

    void ILocalCopy.ApplyManifest(IReadOnlyList<ManifestEntry> entries) => Queue("apply manifest", () =>
    {
        foreach (var gone in Objects.Keys.Except(entries.Select(e => e.Object)).ToList())
            Objects.Remove(gone);
        var made = new List<ulong>();
        foreach (var entry in entries)
        {
            if (!Objects.TryGetValue(entry.Object, out var found))
            {
                Objects[entry.Object] = found = new FakeObject(entry.Mode) { Unsettled = entry.SizeBytes > 0 };
                if (entry.SizeBytes > 0)
                    made.Add(entry.Object);
            }
            found.Links.Clear();
            found.Links.AddRange(entry.Links.Select(l => (l.Parent, Encoding.UTF8.GetString(l.Name))));
            found.Cut(entry.SizeBytes);
        }
        Replica?.ManifestApplied(0, null, [.. Objects.Where(o => o.Value.Unsettled).Select(o => o.Key)], made);
    });

    void ILocalCopy.SettleContent() => Queue("settle", () =>
    {
        foreach (var found in Objects.Values)
            found.Unsettled = false;
        Replica?.ContentSettled(0, null);
    });

    void ILocalCopy.PreserveCopy() => Queue("preserve", () => Replica?.CopyPreserved());

    void ILocalCopy.DropPreserved(bool noRoom) => Events.Add($"older copy dropped {noRoom}");

    void ILocalCopy.ReserveIds(ulong upTo) => Queue("reserve", () => Source?.IdsReserved(Fault("reserve", 0)));

    void ILocalCopy.ReleaseData(DataRef data) => Queue("release", () => Assert.True(_buffers.Remove(data.Buffer)));

    void IMarksStore.StoreLogSector(int group, long offsetBytes, ReadOnlySpan<byte> sector)
    {
        var copy = sector.ToArray();
        Queue("log", () =>
        {
            var errno = Fault("log", 0);
            if (errno == 0)
                copy.CopyTo(Log!, offsetBytes);
            Source?.LogSectorStored(group, errno);
        });
    }

    void IMarksStore.StoreCheckpoint(ReadOnlyMemory<byte> image) => Queue("checkpoint", () =>
    {
        var errno = Fault("checkpoint", 0);
        if (errno == 0)
            Checkpoint = image.ToArray();
        Source?.CheckpointStored(errno);
        Replica?.CheckpointStored(errno);
    });

    void IMarksStore.ReplaceLog(ReadOnlyMemory<byte> image) => Queue("replace log", () =>
    {
        Log = image.ToArray();
        Source?.LogReplaced(0);
        Replica?.LogReplaced(0);
    });

    void IPeerLink.Dial(int attempt) => Queue("dial", () =>
    {
        if (!Reachable || Peer.Replica is null)
        {
            // A machine without the process refuses; one that is not in reach says nothing.
            Source?.DialFailed(attempt, Reachable ? "refused" : "unreachable", refused: Reachable);
            return;
        }
        Link?.Break("replaced");
        Link = new MachineLink(this, Peer);
        Source?.Connected(attempt, Link.NumberAt(this));
    });

    int IPeerLink.SendRoomBytes(int link) => Link is { EndReason: null } open && open.NumberAt(this) == link ? SendRoom - open.Unread(this) : 0;

    void IPeerLink.NameSession(int link, Guid session) => Link?.Name(this, session);

    void IPeerLink.Send(int link, in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        var (sent, bytes) = (header, payload.ToArray());
        Queue($"send {header.Kind}", () => SendNow(link, sent, bytes));
    }

    void IPeerLink.Send(int link, in FrameHeader header, DataRef payload)
    {
        var sent = header;
        Queue($"send {header.Kind}", () => SendNow(link, sent, _buffers[payload.Buffer]));
    }

    private void SendNow(int link, FrameHeader header, byte[] payload)
    {
        BytesSent += payload.Length;
        if (Link is { } open && open.NumberAt(this) == link)
            open.Send(this, header, payload);
    }

    void IPeerLink.CloseLink(int link, string reason, bool afterSending) => Queue("close", () =>
    {
        if (Link is not { } open || open.NumberAt(this) != link)
            return;
        open.Break(reason);
        Link = null;
    });

    void IFrontEnd.Complete(OperationTag tag, int errno, int count) => Assert.True(Completed.TryAdd(tag.Unique, errno), $"{tag.Unique} was completed twice");

    void IFrontEnd.CompleteMutation(OperationTag tag, int errno, in ObjectAttributes attributes)
    {
        Assert.True(Completed.TryAdd(tag.Unique, errno));
        Mutated[tag.Unique] = attributes;
    }

    void IEngineEvents.SessionUp(Guid peerIncarnation) => Events.Add("up");
    void IEngineEvents.SessionLost(string reason) => Events.Add($"lost {reason}");
    void IEngineEvents.Quiesced() => Events.Add("quiesced");
    void IEngineEvents.LocalFault(string reason) => Events.Add($"fault {reason}");
    void IEngineEvents.Stopped() => Events.Add("stopped");

    void IEngineEvents.ResyncStarting(Guid syncBase)
    {
        Events.Add($"starting {syncBase}");
        if (Obliging)
            Queue("allow", () =>
            {
                State = Source is not null ? State with { PendingSyncBase = syncBase } : State with { DataState = DataState.Inconsistent };
                Source?.AllowResync(syncBase);
                Replica?.AllowResync(syncBase);
            });
    }

    void IEngineEvents.ReplicaFlushed(Guid syncBase)
    {
        Events.Add("flushed");
        if (Obliging)
            Queue("confirm", () =>
            {
                State = State with { DataState = DataState.UpToDate, SyncBase = syncBase };
                Replica?.ConfirmResynced(syncBase);
            });
    }

    void IEngineEvents.PeerCaughtUp(Guid syncBase)
    {
        Events.Add("caught-up");
        State = State with { SyncBase = syncBase, PendingSyncBase = Guid.Empty };
    }

    Guid IEngineSurroundings.NewGuid()
    {
        var bytes = new byte[16];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, ++_lastGuid);
        bytes[15] = (byte)name[0];
        return new Guid(bytes);
    }

    double IEngineSurroundings.NextUnit() => 0.5;

    bool IEngineSurroundings.IsReferenced(ulong obj) => Referenced.Contains(obj);

    private int Apply(Mutation mutation, out ulong orphan)
    {
        orphan = 0;
        var name = Encoding.UTF8.GetString(mutation.Name);
        switch (mutation.Kind)
        {
            case MutationKind.CreateFile:
                Objects.Add(mutation.Object, new FakeObject(0x81A4) { Links = { (mutation.Parent, name) } });
                return 0;
            case MutationKind.Unlink:
                var (obj, found) = Objects.Single(o => o.Value.Links.Contains((mutation.Parent, name)));
                found.Links.Remove((mutation.Parent, name));
                orphan = found.Links.Count == 0 ? obj : 0;
                return 0;
            case MutationKind.Release:
                return Objects.Remove(mutation.Object) ? 0 : LinuxError.Stale;
            case MutationKind.SetAttributes when mutation.Mask.HasFlag(AttributeMask.Size):
                Objects[mutation.Object].Cut(mutation.SizeBytes);
                return 0;
            case MutationKind.Allocate:
                Objects[mutation.Object].Clear(mutation.OffsetBytes, mutation.LengthBytes);
                return 0;
            default:
                return 0;
        }
    }

    private sealed record Effect(string What, Action Run);
}

/// <summary>An object of a fake copy.</summary>
internal sealed class FakeObject(uint mode)
{
    public uint Mode { get; set; } = mode;
    public List<ManifestXattr> Xattrs { get; } = [];
    public List<(ulong Parent, string Name)> Links { get; } = [];
    public byte[] Content { get; private set; } = [];
    public bool Unsettled { get; set; }

    public void Write(long offset, ReadOnlySpan<byte> data)
    {
        if (Content.Length < offset + data.Length)
            Cut(offset + data.Length);
        data.CopyTo(Content.AsSpan((int)offset));
    }

    public void Read(long offset, Span<byte> data)
    {
        data.Clear();
        if (offset < Content.Length)
            Content.AsSpan((int)offset, (int)Math.Min(data.Length, Content.Length - offset)).CopyTo(data);
    }

    public void Clear(long offset, long length)
    {
        if (offset < Content.Length)
            Content.AsSpan((int)offset, (int)Math.Min(length, Content.Length - offset)).Clear();
    }

    /// <summary>As ObjectStore.MakeHole.</summary>
    public void MakeHole(long offset, long length)
    {
        Clear(offset, length);
        if (Content.Length < offset + length)
            Cut(offset + length);
    }

    public void Cut(long size)
    {
        var content = new byte[size];
        Content.AsSpan(0, (int)Math.Min(size, Content.Length)).CopyTo(content);
        Content = content;
    }
}

/// <summary>The clock of a pair, milliseconds.</summary>
internal sealed class MachinePairClock
{
    public long NowMs { get; set; } = 1_000;
}
