using System.Numerics;
using System.Runtime.CompilerServices;

namespace Pollux.DataPlane.Core.Replication;

/// <summary>The marks of 512 consecutive blocks of one object.</summary>
internal sealed class MarkPage
{
    public const int Blocks = 512;
    private const int Words = Blocks / 64;

    private Bits dirty;
    private Bits written;
    private Bits flushing;

    public long Index { get; set; }

    [InlineArray(Words)]
    private struct Bits
    {
        private ulong first;
    }

    public bool IsEmpty => (Any(in dirty) | Any(in written) | Any(in flushing)) == 0;

    private ref Bits Of(MarkKind kind)
    {
        switch (kind)
        {
            case MarkKind.Dirty:
                return ref dirty;
            case MarkKind.Written:
                return ref written;
            default:
                return ref flushing;
        }
    }

    /// <summary>Sets the marks of blocks [first, end) and returns how many are new.</summary>
    public int Set(MarkKind kind, int first, int end)
    {
        ref var bits = ref Of(kind);
        var added = 0;
        for (var word = first / 64; word * 64 < end; word++)
        {
            var fresh = Mask(word, first, end) & ~bits[word];
            bits[word] |= fresh;
            added += BitOperations.PopCount(fresh);
        }
        return added;
    }

    /// <summary>Clears the marks of blocks [first, end) and returns how many there were.</summary>
    public int Clear(MarkKind kind, int first, int end)
    {
        ref var bits = ref Of(kind);
        var removed = 0;
        for (var word = first / 64; word * 64 < end; word++)
        {
            var gone = Mask(word, first, end) & bits[word];
            bits[word] &= ~gone;
            removed += BitOperations.PopCount(gone);
        }
        return removed;
    }

    /// <summary>Adds one kind of marks to another and clears it; returns how many the receiving kind gained and the giving one lost.</summary>
    public (int Gained, int Lost) Move(MarkKind from, MarkKind to, int first = 0, int end = Blocks)
    {
        ref var source = ref Of(from);
        ref var target = ref Of(to);
        int gained = 0, lost = 0;
        for (var word = first / 64; word * 64 < end; word++)
        {
            var moved = source[word] & Mask(word, first, end);
            gained += BitOperations.PopCount(moved & ~target[word]);
            lost += BitOperations.PopCount(moved);
            target[word] |= moved;
            source[word] &= ~moved;
        }
        return (gained, lost);
    }

    /// <summary>Adds the marks of a kind to those of another page.</summary>
    public void AddTo(MarkPage other, MarkKind kind)
    {
        ref var source = ref Of(kind);
        ref var target = ref other.Of(kind);
        for (var word = 0; word < Words; word++)
            target[word] |= source[word];
    }

    public bool Has(MarkKind kind) => Any(in Of(kind)) != 0;

    public void Clear(MarkKind kind) => Of(kind) = default;

    /// <summary>The first block at or after <paramref name="start"/> that has, or has not, a mark of one of the kinds; 512 if none.</summary>
    public int Next(MarkKinds kinds, bool marked, int start)
    {
        for (var word = start / 64; word < Words; word++)
        {
            var value = ((kinds & MarkKinds.Dirty) != 0 ? dirty[word] : 0) | ((kinds & MarkKinds.Written) != 0 ? written[word] : 0)
                | ((kinds & MarkKinds.Flushing) != 0 ? flushing[word] : 0);
            value = (marked ? value : ~value) & Mask(word, start, Blocks);
            if (value != 0)
                return word * 64 + BitOperations.TrailingZeroCount(value);
        }
        return Blocks;
    }

    private static ulong Any(ref readonly Bits bits)
    {
        ulong any = 0;
        foreach (var word in bits)
            any |= word;
        return any;
    }

    private static ulong Mask(int word, int first, int end)
    {
        var mask = ulong.MaxValue;
        if (first > word * 64)
            mask &= ulong.MaxValue << (first - word * 64);
        if (end < word * 64 + 64)
            mask &= ulong.MaxValue >>> (word * 64 + 64 - end);
        return mask;
    }
}
