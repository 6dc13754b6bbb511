namespace Pollux.DataPlane.Core.Replication;

// The entries of a verify: names, types, owners, modes, attributes. A batch at a time is described on both hosts. No mutation begins
// meanwhile, and those before are in the stream before the request, so a difference is one. Between batches mutations have their turn.
public sealed partial class SourceMachine
{
    private const int VerifyInLine = -3;

    /// <summary>What an entry counts for the limit of a verify, bytes: about what is read of it.</summary>
    private const int EntryBytes = 1024;

    /// <returns>True: all entries are compared.</returns>
    private bool AdvanceEntries()
    {
        if (_verify.Describes || _inLine == VerifyInLine)
            return false;
        if (_verify.NextEntry == _verify.TotalEntries)
            return true;
        if (_inLine == NobodyInLine && !_manifestWanted && IsWithin(ref _verifyLimit))
            DescribeBatch();
        return false;
    }

    private void DescribeBatch()
    {
        var objects = _verify.Objects!.GetRange(_verify.NextEntry, Math.Min(EntryDigest.BatchMax, _verify.TotalEntries - _verify.NextEntry));
        _inLine = VerifyInLine;
        (_verify.Describes, _verify.BatchCount, _verify.EntriesHere, _verify.EntriesThere) = (true, objects.Count, null, null);
        _verify.Batch++;
        _verifyLimit.Take(objects.Count * EntryBytes);
        var payload = PayloadOf(sizeof(int) + (objects.Count * sizeof(ulong)));
        var writer = new WireWriter(payload);
        writer.Int32(_verify.Batch);
        foreach (var obj in objects)
            writer.UInt64(obj);
        SendControl(FrameKind.EntriesRequest, FrameFlags.None, payload);
        _effects.LocalDescribe(_verify.Batch, objects);
    }

    /// <summary>What this host has of a batch of entries, in the order asked for.</summary>
    public void EntriesDescribed(int batch, int errno, IReadOnlyList<EntryDigest> entries)
    {
        _verify.Describes = false;
        _changed = true;
        if (errno != 0)
        {
            LeaveEntries();
            RaiseLocalFault($"the tree could not be read for a comparison ({LinuxError.Describe(errno)})");
            LoseSession("the source cannot read its tree");
        }
        else if (_verify.Running && batch == _verify.Batch)
        {
            _verify.EntriesHere = [.. entries];
            CompareEntries();
        }
        Settle();
    }

    private bool TakeEntries(ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        var batch = reader.Int32();
        if (!reader.Ok || batch > _verify.Batch || reader.RestBytes % EntryDigest.EncodedBytes != 0)
            return false;
        // Of a verify that has ended.
        if (batch != _verify.Batch || !_verify.Running || _inLine != VerifyInLine)
            return true;
        var entries = new EntryDigest[reader.RestBytes / EntryDigest.EncodedBytes];
        if (entries.Length != _verify.BatchCount)
            return false;
        for (var i = 0; i < entries.Length; i++)
            entries[i] = EntryDigest.Read(ref reader);
        _verify.EntriesThere = entries;
        CompareEntries();
        _changed = true;
        return true;
    }

    private void CompareEntries()
    {
        if (_verify is not { EntriesHere: { } here, EntriesThere: { } there })
            return;
        for (var i = 0; i < here.Length; i++)
        {
            var obj = _verify.Objects![_verify.NextEntry + i];
            // Gone since the list was made, or without a name: the peer need not have it.
            if (here[i].IsMissing || _orphans.Contains(obj))
                continue;
            if (here[i].Compare(there[i]) is not EntryAspects.None and var aspects)
                Found(new EntryDifference(obj, aspects));
        }
        _verify.NextEntry += here.Length;
        LeaveEntries();
    }

    private void LeaveEntries()
    {
        (_verify.EntriesHere, _verify.EntriesThere) = (null, null);
        if (_inLine == VerifyInLine)
            _inLine = NobodyInLine;
    }
}
