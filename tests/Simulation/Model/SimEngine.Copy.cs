using System.Security.Cryptography;
using Pollux.DataPlane.Core.Replication;

namespace Pollux.Tests.Simulation.Model;

// This host's copy and the durable marks: each call begins in its time on the simulated disk and ends later.
internal sealed partial class SimEngine
{
    private readonly SortedDictionary<ulong, long> objectFreeMs = [];
    private readonly Dictionary<int, Buffer> buffers = [];
    private readonly List<int> buffersReleased = [];
    private int buffersMade;
    private int localRunning;
    private long metadataFreeMs;
    private bool targetIsOverwritten;

    private sealed class Buffer(byte[] bytes)
    {
        public byte[] Bytes => bytes;

        /// <summary>Effects that name it and are not executed yet.</summary>
        public int Pending { get; set; }

        public bool Released { get; set; }
    }

    private ulong ReservedIds => host.Disk.Metadata(IdsFile) is { } bytes ? BitConverter.ToUInt64(bytes) : 0;

    private DataRef NewBuffer(byte[] content)
    {
        buffers.Add(++buffersMade, new Buffer(content));
        return new DataRef(buffersMade, 0, content.Length);
    }

    private ReadOnlySpan<byte> BytesOf(DataRef data) =>
        data.Length == 0 ? default
        : buffers.TryGetValue(data.Buffer, out var buffer) ? buffer.Bytes.AsSpan(data.Offset, data.Length)
        : throw new SafetyViolation($"{host.Name} uses a buffer after it has given it back");

    private void Pend(DataRef data, int by)
    {
        if (data.Length == 0 || !buffers.TryGetValue(data.Buffer, out var buffer))
            return;
        buffer.Pending += by;
        if (buffer is { Released: true, Pending: 0 })
            buffersReleased.Add(data.Buffer);
    }

    private void Release(int number)
    {
        if (!buffers.TryGetValue(number, out var buffer))
            return;
        buffer.Released = true;
        if (buffer.Pending == 0)
            buffersReleased.Add(number);
    }

    /// <summary>What is free is used for something else: whoever looks at it still finds nonsense.</summary>
    private void FreeBuffers()
    {
        foreach (var number in buffersReleased)
        {
            if (buffers.TryGetValue(number, out var buffer) && buffer is { Released: true, Pending: 0 })
                buffers.Remove(number);
        }

        buffersReleased.Clear();
    }

    void ILocalCopy.ReleaseData(DataRef data) => effects.Add(() => Release(data.Buffer));

    void ILocalCopy.LocalWrite(int slot, ulong obj, long offsetBytes, DataRef data)
    {
        Pend(data, 1);
        CheckTarget();
        effects.Add(() => InOrder(obj, 0, 8, () =>
        {
            var errno = host.Disk.Write(obj, offsetBytes, BytesOf(data));
            if (errno != 0 && source is not null)
                world.Truth.Refused(obj, offsetBytes, BytesOf(data));
            Pend(data, -1);
            if (replica is not null)
                Release(data.Buffer);
            Written(slot, errno);
        }));
    }

    void ILocalCopy.LocalHole(int slot, ulong obj, long offsetBytes, long lengthBytes)
    {
        CheckTarget();
        if (world.Sabotage == Sabotage.HolesNotCopied)
            lengthBytes = 0;
        effects.Add(() => InOrder(obj, 0, 8, () =>
            Written(slot, host.Disk.WriteErrno != 0 ? host.Disk.WriteErrno : host.Disk.MakeHole(obj, offsetBytes, lengthBytes))));
    }

    private void Written(int slot, int errno) => Turn(() =>
    {
        source?.LocalWritten(slot, errno);
        replica?.LocalWritten(slot, errno);
    });

    void ILocalCopy.LocalFlush(int slot, ulong obj, bool dataOnly) => effects.Add(() =>
    {
        localRunning++;
        After(machines, world.Random.Between(0, 3), () =>
        {
            var notDone = world.Sabotage == (source is null ? Sabotage.ReplicaFlushNotDone : Sabotage.SourceFlushNotDone);
            var begun = notDone ? 0 : host.Disk.BeginFlush();
            var gone = obj != 0 && host.Disk.Find(obj) is null;
            After(machines, world.Random.Chance(20) ? 300 : world.Random.Between(1, 22), () =>
            {
                var errno = gone ? Linux.ESTALE : host.Disk.EndFlush(begun, obj);
                if (world.Sabotage == Sabotage.FailedFlushForgotten)
                    errno = 0;
                // The thread that has learnt the outcome may be slow to tell it.
                After(machines, world.Random.Chance(50) ? world.Random.Between(1, 20) : 0, () =>
                {
                    localRunning--;
                    Turn(() =>
                    {
                        source?.LocalFlushed(slot, errno);
                        replica?.LocalFlushed(slot, errno);
                    });
                });
            });
        });
    });

    void ILocalCopy.LocalMutation(int slot, Mutation mutation)
    {
        CheckTarget();
        effects.Add(() => Alone(0, 8, () =>
        {
            var errno = host.Disk.Apply(mutation, out var attributes, out var orphan);
            if (errno == 0 && source is not null && mutation.Kind is MutationKind.CreateFile)
                references.Add(attributes.Object);
            Turn(() =>
            {
                source?.LocalMutated(slot, errno, attributes, orphan);
                replica?.LocalMutated(slot, errno, attributes, orphan);
            });
        }));
    }

    void ILocalCopy.LocalStat(int slot, ulong obj) => effects.Add(() => Alone(0, 2, () =>
    {
        var errno = host.Disk.Stat(obj, out var attributes);
        Turn(() => source!.LocalStatted(slot, errno, attributes));
    }));

    void ILocalCopy.LocalRepairRead(int slot, ulong obj, long offsetBytes, int lengthBytes) => effects.Add(() => InOrder(obj, 0, 4, () =>
    {
        var content = new byte[lengthBytes];
        var errno = host.Disk.Read(obj, offsetBytes, content, out _);
        var size = host.Disk.Find(obj)?.SizeBytes ?? 0;
        var data = errno == 0 ? NewBuffer(content) : default;
        Turn(() => source!.LocalRepairRead(slot, errno, size, data));
    }));

    void ILocalCopy.LocalCopyRead(int slot, ulong obj, long offsetBytes, long lengthBytes) => effects.Add(() => Alone(0, 6, () =>
    {
        var range = new ObjectRange(obj, offsetBytes, lengthBytes);
        var links = (uint)(host.Disk.Names.GetValueOrDefault(obj)?.Links.Count ?? 0);
        var file = host.Disk.Find(obj);
        var next = file?.NextData(offsetBytes) ?? 0;
        var piece = CopyPiece.Plan(range, links, file?.SizeBytes ?? 0, next >= (file?.SizeBytes ?? 0) ? long.MaxValue : next, file?.NextHole(next) ?? 0);
        var data = default(DataRef);
        if (piece.Kind == CopyPieceKind.Data)
        {
            var content = new byte[piece.LengthBytes];
            file!.Read(offsetBytes, content);
            data = NewBuffer(content);
        }

        Turn(() => source!.LocalCopyRead(slot, 0, piece, data));
    }));

    void ILocalCopy.LocalHash(int slot, ulong obj, long offsetBytes, int lengthBytes) => effects.Add(() => InOrder(obj, 0, 6, () =>
    {
        var content = new byte[lengthBytes];
        var errno = host.Disk.Read(obj, offsetBytes, content, out var count);
        var hash = RangeHash.From(count, SHA256.HashData(content.AsSpan(0, count)));
        Turn(() =>
        {
            source?.LocalHashed(slot, errno, hash);
            replica?.LocalHashed(slot, errno, hash);
        });
    }));

    void ILocalCopy.LocalDescribe(int batch, IReadOnlyList<ulong> objects) => effects.Add(() => Alone(1, 10, () =>
    {
        var entries = host.Disk.Manifest().ToDictionary(entry => entry.Object);
        var children = entries.Values.SelectMany(entry => entry.Links.Select(link => (link.Parent, Child: new ManifestChild(link.Name, entry.Object)))).ToLookup(link => link.Parent, link => link.Child);
        var digests = objects.Select(obj => entries.TryGetValue(obj, out var entry) ? EntryDigest.Of(entry, children[obj]) : default).ToList();
        Turn(() =>
        {
            source?.EntriesDescribed(batch, 0, digests);
            replica?.EntriesDescribed(batch, 0, digests);
        });
    }));

    void ILocalCopy.TakeManifest() => effects.Add(() => Alone(1, 30, () =>
    {
        var entries = host.Disk.Manifest();
        Turn(() => source!.ManifestTaken(null, entries));
    }));

    /// <summary>In two steps, between which it may be cut short.</summary>
    void ILocalCopy.ApplyManifest(IReadOnlyList<ManifestEntry> entries)
    {
        CheckTarget();
        effects.Add(() => Alone(1, 15, () =>
        {
            var made = host.Disk.ApplyManifestNames(entries);
            Alone(1, 15, () =>
            {
                var errno = host.Disk.ApplyManifestSizes(entries);
                var whole = host.Disk.AwaitingContent();
                Turn(() => replica!.ManifestApplied(errno, errno == 0 ? null : "flushing the tree failed", whole, made));
            });
        }));
    }

    void ILocalCopy.SettleContent() => effects.Add(() => Alone(1, 15, () =>
    {
        host.Disk.SettleContent();
        Turn(() => replica!.ContentSettled(0, null));
    }));

    void ILocalCopy.PreserveCopy() => effects.Add(() => Alone(0, 20, () => Turn(() => replica!.CopyPreserved())));

    /// <summary>The simulated disk keeps no older copy.</summary>
    void ILocalCopy.DropPreserved(bool noRoom)
    {
    }

    void ILocalCopy.ReserveIds(ulong upTo) => effects.Add(() => Metadata(
        () => host.Disk.ReplaceMetadata(IdsFile, BitConverter.GetBytes(upTo)), errno => source!.IdsReserved(errno)));

    void IMarksStore.StoreLogSector(int group, long offsetBytes, ReadOnlySpan<byte> sector)
    {
        var bytes = sector.ToArray();
        if (world.Sabotage == Sabotage.SkipActivityLog)
            bytes = [];
        effects.Add(() => Metadata(() => host.Disk.WriteMetadata(LogFile, offsetBytes, bytes), errno => source!.LogSectorStored(group, errno)));
    }

    void IMarksStore.StoreCheckpoint(ReadOnlyMemory<byte> image)
    {
        if (world.Sabotage == Sabotage.ClearMarksWithoutFlush && CheckpointImage.Read(image.Span) is { EverythingMayDiffer: false } marks)
            image = CheckpointImage.Write([], false, marks.Claim);
        effects.Add(() => Metadata(
            () => host.Disk.ReplaceMetadata(CheckpointFile, image.Span),
            errno =>
            {
                source?.CheckpointStored(errno);
                replica?.CheckpointStored(errno);
            }));
    }

    void IMarksStore.ReplaceLog(ReadOnlyMemory<byte> image) => effects.Add(() => Metadata(
        () => host.Disk.ReplaceMetadata(LogFile, image.Span),
        errno =>
        {
            source?.LogReplaced(errno);
            replica?.LogReplaced(errno);
        }));

    /// <summary>Calls for metadata end in their order, one after the other.</summary>
    private void Metadata(Func<Func<int>> begin, Action<int> ended)
    {
        localRunning++;
        var end = begin();
        metadataFreeMs = Math.Max(metadataFreeMs, world.Schedule.NowMs) + MetadataMs();
        After(machines, metadataFreeMs - world.Schedule.NowMs, () =>
        {
            localRunning--;
            var errno = end();
            Turn(() => ended(errno));
        });
    }

    private long MetadataMs() => world.Random.Chance(20) ? world.Random.Between(20, 200) : world.Random.Between(0, 5);

    /// <summary>Content of one object: in the order in which it was asked for.</summary>
    private void InOrder(ulong obj, long lowMs, long highMs, Action action)
    {
        localRunning++;
        var atMs = world.Schedule.NowMs + DiskMs(lowMs, highMs);
        if (world.Sabotage != Sabotage.WritesOutOfOrder)
            atMs = Math.Max(atMs, objectFreeMs.GetValueOrDefault(obj));
        objectFreeMs[obj] = atMs;
        After(machines, atMs - world.Schedule.NowMs, () =>
        {
            localRunning--;
            action();
        });
    }

    /// <summary>Side by side with everything else.</summary>
    private void Alone(long lowMs, long highMs, Action action)
    {
        localRunning++;
        After(machines, DiskMs(lowMs, highMs), () =>
        {
            localRunning--;
            action();
        });
    }

    private long DiskMs(long lowMs, long highMs) => world.Random.Chance(5) ? world.Random.Between(50, 400) : world.Random.Between(lowMs, highMs);

    private void CheckTarget()
    {
        if (targetIsOverwritten)
            world.Truth.TargetOverwritten(host);
    }
}
