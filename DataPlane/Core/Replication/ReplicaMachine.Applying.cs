namespace Pollux.DataPlane.Core.Replication;

// Frames of the source, and the ends of what they led to.
public sealed partial class ReplicaMachine
{
    // By sequence, modulo: done, and may be done although the object is gone.
    private readonly bool[] _done = new bool[ApplyingMax];
    private readonly bool[] _tolerant = new bool[ApplyingMax];
    private readonly bool[] _hashing = new bool[WriteLedger.Slots];
    private ulong _received;
    private ulong _applied;
    private ulong _acknowledged;
    private bool _pinged;
    private int _applying;
    private int _hashesRun;
    private bool _describes;
    private Mutation? _mutation;
    private bool _mutationRuns;

    /// <summary>A sound frame of the source. Only while <see cref="WantsFrames"/>.</summary>
    /// <param name="payload">All of it, for the call only.</param>
    /// <param name="data">The same bytes; see <see cref="DataRef"/>.</param>
    public void FrameArrived(int link, in FrameHeader header, ReadOnlySpan<byte> payload, DataRef data)
    {
        if (link != _link || link == 0)
            return;
        (_heardMs, _receivedBytes) = (_nowMs, _receivedBytes + payload.Length);
        if (header.Epoch < _epoch)
            Fail(header.Sequence, 0, $"a frame of epoch {header.Epoch} in a session of epoch {_epoch}");
        else if (header.Sequence != 0 && header.Sequence != _received + 1)
            Fail(header.Sequence, 0, $"frame {header.Sequence} came where {_received + 1} was expected");
        else if (!Take(header, payload, data))
            Fail(header.Sequence, 0, $"a {header.Kind} does not belong here");
        Settle();
    }

    private bool Take(in FrameHeader header, ReadOnlySpan<byte> payload, DataRef data)
    {
        var applying = _phase == Phase.Applying;
        if ((header.Sequence != 0) != (header.Kind is FrameKind.Write or FrameKind.ResyncData or FrameKind.ResyncHole or FrameKind.Mutation or FrameKind.Flush))
            return false;
        switch (header.Kind)
        {
            case FrameKind.Write or FrameKind.ResyncData when applying && header.OffsetBytes >= 0 && payload.Length is > 0 and <= FrameHeader.DataBytesMax:
                _effects.LocalWrite(Start(header, tolerant: header.Kind == FrameKind.ResyncData), header.Object, header.OffsetBytes, data);
                return true;
            case FrameKind.ResyncHole when applying && header.OffsetBytes >= 0:
                var reader = new WireReader(payload);
                var lengthBytes = reader.Int64();
                if (!reader.Complete || lengthBytes <= 0 || header.OffsetBytes > long.MaxValue - lengthBytes)
                    return false;
                _effects.LocalHole(Start(header, tolerant: true), header.Object, header.OffsetBytes, lengthBytes);
                return true;
            case FrameKind.Mutation when applying && MutationCodec.Read(payload) is { } mutation:
                // An object that lost its name before this session is not here.
                Start(header, tolerant: mutation.Kind == MutationKind.Release);
                _mutation = mutation;
                return true;
            case FrameKind.Flush when applying:
                return TakeFlush(header);
            case FrameKind.HashRequest when applying:
                return TakeHashRequest(header, payload);
            case FrameKind.EntriesRequest when applying:
                return TakeEntriesRequest(payload);
            case FrameKind.EpochChanged:
                _epoch = header.Epoch;
                RaiseEpoch(header.Epoch);
                return true;
            case FrameKind.Ping:
                _pinged = true;
                return true;
            default:
                return TakeResync(header, payload);
        }
    }

    private int Start(in FrameHeader header, bool tolerant)
    {
        _received = header.Sequence;
        var slot = (int)(header.Sequence % ApplyingMax);
        (_done[slot], _tolerant[slot]) = (false, tolerant);
        _applying++;
        return slot;
    }

    /// <summary>A write or a hole was applied.</summary>
    public void LocalWritten(int slot, int errno) => Applied(slot, errno, "a write");

    /// <summary>A mutation was applied.</summary>
    public void LocalMutated(int slot, int errno, in ObjectAttributes attributes, ulong orphan)
    {
        _mutationRuns = false;
        Applied(slot, errno, "a mutation");
    }

    private void Applied(int slot, int errno, string what)
    {
        _applying--;
        if (_link != 0 && _applied < _received)
        {
            if (errno != 0 && !(_tolerant[slot] && LinuxError.IsGone(errno)))
            {
                var sequence = _applied + 1 + (((ulong)slot + (2 * ApplyingMax) - ((_applied + 1) % ApplyingMax)) % ApplyingMax);
                Fail(sequence, errno, $"{what} failed (frame {sequence}: {LinuxError.Describe(errno)})");
            }
            else
            {
                Finish(slot);
            }
        }
        else if (errno == 0 || (_tolerant[slot] && LinuxError.IsGone(errno)))
        {
            Finish(slot);
        }
        else
        {
            _streamGoesOn = false;
            if (LinuxError.IsDiskFault(errno))
                RaiseLocalFault($"{what} of a session that is over failed ({LinuxError.Describe(errno)})");
        }
        Settle();
    }

    private void Finish(int slot)
    {
        _done[slot] = true;
        while (_applied < _received && _done[(_applied + 1) % ApplyingMax])
        {
            _applied++;
            _done[_applied % ApplyingMax] = false;
        }
    }

    /// <summary>A mutation begins when everything before it is done.</summary>
    private void AdvanceMutation()
    {
        if (_mutation is not { } mutation || _mutationRuns || _applying > 1)
            return;
        (_mutation, _mutationRuns) = (null, true);
        _effects.LocalMutation((int)(_received % ApplyingMax), mutation);
    }

    private bool TakeHashRequest(in FrameHeader header, ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        var (lengthBytes, slot) = (reader.Int32(), reader.Int32());
        if (!reader.Complete || lengthBytes is <= 0 or > CopyPiece.DataBytesMax || header.OffsetBytes < 0 || slot is < 0 or >= WriteLedger.Slots || _hashing[slot])
            return false;
        _hashing[slot] = true;
        _hashesRun++;
        _effects.LocalHash(slot, header.Object, header.OffsetBytes, lengthBytes);
        return true;
    }

    public void LocalHashed(int slot, int errno, in RangeHash hash)
    {
        _hashing[slot] = false;
        _hashesRun--;
        if (errno != 0 && !LinuxError.IsGone(errno))
        {
            Fail(0, errno, $"reading for a comparison failed ({LinuxError.Describe(errno)})");
        }
        else if (_link != 0)
        {
            Span<byte> payload = stackalloc byte[sizeof(int) + RangeHash.EncodedBytes];
            new WireWriter(payload).Int32(slot);
            // What is not there equals nothing.
            (errno == 0 ? hash : new RangeHash(-1, 0, 0)).Write(payload[sizeof(int)..]);
            Send(FrameKind.HashAnswer, FrameFlags.None, 0, 0, payload);
        }
        Settle();
    }

    private bool TakeEntriesRequest(ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        var batch = reader.Int32();
        var count = reader.RestBytes / sizeof(ulong);
        if (count is 0 or > EntryDigest.BatchMax || _describes)
            return false;
        var objects = new ulong[count];
        for (var i = 0; i < count; i++)
            objects[i] = reader.UInt64();
        if (!reader.Complete)
            return false;
        _describes = true;
        _effects.LocalDescribe(batch, objects);
        return true;
    }

    /// <summary>What this host has of a batch of entries, in the order asked for.</summary>
    public void EntriesDescribed(int batch, int errno, IReadOnlyList<EntryDigest> entries)
    {
        _describes = false;
        if (errno != 0)
        {
            Fail(0, errno, $"the tree could not be read for a comparison ({LinuxError.Describe(errno)})");
        }
        else if (_link != 0)
        {
            var payload = PayloadOf(sizeof(int) + (entries.Count * EntryDigest.EncodedBytes));
            var writer = new WireWriter(payload);
            writer.Int32(batch);
            foreach (var entry in entries)
                entry.Write(ref writer);
            Send(FrameKind.EntriesAnswer, FrameFlags.None, 0, 0, payload);
        }
        Settle();
    }

    private void ResetSession(ulong appliedBefore)
    {
        (_received, _applied, _acknowledged, _pinged) = (appliedBefore, appliedBefore, appliedBefore, false);
        _done.AsSpan().Clear();
        _mutation = null;
        _phase = Phase.Answering;
        ResetResync();
    }

    /// <summary>What has not begun never will; what runs ends without a consequence.</summary>
    private void ForgetSession()
    {
        if (_mutation is not null)
            _applying--;
        _mutation = null;
        _flushes.RemoveAll(static request => request.Runs < 0);
        ForgetResync();
    }
}
