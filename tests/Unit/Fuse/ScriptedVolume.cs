using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;
using Pollux.Tests.Unit.Replication;

namespace Pollux.Tests.Unit.Fuse;

/// <summary>A volume that answers anything with a result that its seed chooses, and holds the front end to the volume's contract: names are
/// bounded and whole, every byte that it gives can be read, references are given back no more often than they were taken.</summary>
internal sealed class ScriptedVolume(SeededRandom random, IVolumeCompletions completions) : IModuleVolume
{
    private readonly Dictionary<ulong, int> _handles = [];
    private long _sum;

    /// <summary>Sum of all bytes seen: keeps the reads from being optimised away.</summary>
    public long Sum => _sum;

    public int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes)
    {
        CheckName(name);
        return Result(out attributes);
    }

    public void Forget(ulong obj, ulong count)
    {
    }

    public int GetAttributes(ulong obj, out ObjectAttributes attributes) => Result(out attributes);

    public int ReadLink(ulong obj, Span<byte> target, out int length)
    {
        length = random.Below(target.Length + 1);
        target[..length].Fill(1);
        return Result(out _);
    }

    public int Open(ulong obj, int flags, out ulong handle)
    {
        // Like the engine: one handle for all openings of an object.
        handle = obj;
        var result = Result(out _);
        if (result == 0)
            _handles[handle] = _handles.GetValueOrDefault(handle) + 1;
        return result;
    }

    public void Close(ulong handle)
    {
        Assert.True(_handles.GetValueOrDefault(handle) > 0, "a handle was closed that was not open");
        _handles[handle]--;
    }

    public int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count)
    {
        count = random.Below(buffer.Length + 1);
        buffer[..count].Fill(2);
        return Result(out _);
    }

    public int Seek(ulong handle, long offsetBytes, int whence, out long result)
    {
        result = random.Below(1000);
        return Result(out _);
    }

    public int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit)
    {
        var name = new byte[1 + random.Below(255)];
        name.AsSpan().Fill((byte)'n');
        for (var i = 0; i < 200; i++)
        {
            _ = Result(out var attributes);
            if (!visit(name, attributes, cookie + i))
                break;
        }
        return Result(out _);
    }

    public void Reference(ulong obj)
    {
    }

    public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length)
    {
        Touch(name);
        length = random.Below(value.Length + 1);
        return Result(out _);
    }

    public int ListXattr(ulong obj, Span<byte> names, out int length)
    {
        length = random.Below(100);
        names[..length].Fill((byte)(random.Below(2) == 0 ? 0 : 'a'));
        return Result(out _);
    }

    public int StatFs(ulong obj, out VolumeSpace space)
    {
        space = default;
        return Result(out _);
    }

    public void Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data, OperationTag tag)
    {
        Touch(data);
        Assert.True(offsetBytes >= 0 && offsetBytes <= long.MaxValue - data.Length, "a range beyond what can be told");
        completions.Completed(tag, Result(out _), data.Length);
    }

    public void Flush(ulong obj, bool dataOnly, OperationTag tag) => completions.Completed(tag, Result(out _), 0);

    public void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed)
    {
        Assert.True(Enum.IsDefined(mutation.Kind));
        Assert.True(mutation.NewName.Length <= 255 && mutation.Data.Length <= 65536, "a mutation longer than any of the kernel's");
        if (mutation.Kind is not (MutationKind.SetXattr or MutationKind.RemoveXattr))
            CheckName(mutation.Name);
        Touch(mutation.Name);
        Touch(mutation.Data);
        var result = Result(out var attributes);
        completed(result, attributes);
    }

    private void CheckName(ReadOnlySpan<byte> name)
    {
        Assert.True(name.Length <= 255, $"a name of {name.Length} bytes");
        Assert.False(name.Contains((byte)0), "a name that goes on after its end");
        Touch(name);
    }

    private void Touch(ReadOnlySpan<byte> bytes)
    {
        foreach (var value in bytes)
            _sum += value;
    }

    private int Result(out ObjectAttributes attributes)
    {
        attributes = new ObjectAttributes(
            (ulong)random.Below(50) + 1, (uint)random.Below(0x10000), 1, 0, 0, 0, random.Below(1 << 20), 8, random.Below(1 << 30), random.Below(1 << 30), 0, 4096);
        return random.Below(4) == 0 ? new[] { Errno.ENOENT, Errno.EIO, Errno.EEXIST, Errno.ENOSYS, Errno.ENODATA, Errno.EINTR, 600, -1 }[random.Below(8)] : 0;
    }
}
