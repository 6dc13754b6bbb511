using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>A volume without a peer, over a real <see cref="ObjectStore"/>, with hooks to make it late or wrong. One lock owns references
/// and handles; completions are called outside of it, on the caller's thread or, with <see cref="AnswerElsewhere"/>, on another.</summary>
internal sealed class LocalVolume(ObjectStore store, IVolumeCompletions completions) : IModuleVolume
{
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, ulong> _references = [];
    private readonly Dictionary<ulong, ulong> _handles = [];
    private readonly HashSet<ulong> _orphans = [];
    private ulong _lastObject = Math.Max(store.HighestId, 1UL << 32);
    private ulong _lastHandle;

    /// <summary>Completions come from pool threads, as from a peer.</summary>
    public bool AnswerElsewhere { get; init; }

    /// <summary>Errno that flushes give; 0: what the store says.</summary>
    public int FlushFault { get; set; }

    /// <summary>Every write and flush in the order of arrival: "write 7 4096", "flush 7 data".</summary>
    public List<string> Journal { get; } = [];

    /// <summary>Called outside the lock with the id of an object without names whose storage was released.</summary>
    public Action<ulong>? Released { get; set; }

    public int OpenHandles
    {
        get
        {
            lock (_gate)
                return _handles.Count;
        }
    }

    public int Lookup(ulong parent, ReadOnlySpan<byte> name, out ObjectAttributes attributes)
    {
        var result = store.Lookup(parent, name, out attributes);
        if (result == 0)
            Reference(attributes.Object);
        return result;
    }

    public void Reference(ulong obj)
    {
        lock (_gate)
            _references[obj] = _references.GetValueOrDefault(obj) + 1;
    }

    public void Forget(ulong obj, ulong count)
    {
        lock (_gate)
        {
            var left = checked(_references[obj] - count);
            if (left == 0)
                _references.Remove(obj);
            else
                _references[obj] = left;
        }

        ReleaseIfUnused(obj);
    }

    public int GetAttributes(ulong obj, out ObjectAttributes attributes) => store.GetAttributes(obj, out attributes);

    public int ReadLink(ulong obj, Span<byte> target, out int length) => store.ReadLink(obj, target, out length);

    public int Open(ulong obj, int flags, out ulong handle)
    {
        handle = 0;
        var result = store.Open(obj, flags);
        if (result != 0)
            return result;
        lock (_gate)
        {
            handle = ++_lastHandle;
            _handles[handle] = obj;
            return 0;
        }
    }

    public void Close(ulong handle)
    {
        ulong obj;
        lock (_gate)
            Assert.True(_handles.Remove(handle, out obj), "a handle was closed twice");
        ReleaseIfUnused(obj);
    }

    public int Read(ulong handle, long offsetBytes, Span<byte> buffer, out int count) =>
        store.Read(ObjectOf(handle), offsetBytes, buffer, out count);

    public int Seek(ulong handle, long offsetBytes, int whence, out long result) =>
        store.Seek(ObjectOf(handle), offsetBytes, whence, out result);

    public int ReadDirectory(ulong handle, long cookie, DirectoryVisitor visit) => store.ReadDirectory(ObjectOf(handle), cookie, visit);

    public int GetXattr(ulong obj, ReadOnlySpan<byte> name, Span<byte> value, out int length) =>
        store.GetXattr(obj, name, value, out length);

    public int ListXattr(ulong obj, Span<byte> names, out int length) => store.ListXattr(obj, names, out length);

    public int StatFs(ulong obj, out VolumeSpace space) => store.StatFs(obj, out space);

    public void Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data, OperationTag tag)
    {
        lock (_gate)
            Journal.Add($"write {obj} {data.Length}");
        var (errno, count) = (store.Write(obj, offsetBytes, data), data.Length);
        Answer(() => completions.Completed(tag, errno, count));
    }

    public void Flush(ulong obj, bool dataOnly, OperationTag tag)
    {
        lock (_gate)
            Journal.Add($"flush {obj}{(dataOnly ? " data" : "")}");
        var errno = FlushFault != 0 ? FlushFault : obj == 0 ? store.FlushAll() : store.Flush(obj, dataOnly);
        Answer(() => completions.Completed(tag, errno, 0));
    }

    public void Mutate(Mutation mutation, Action<int, ObjectAttributes> completed)
    {
        var creates = mutation.Kind is MutationKind.CreateFile or MutationKind.MakeDirectory or MutationKind.MakeNode or MutationKind.Symlink;
        if (creates)
            mutation = mutation with { Object = Interlocked.Increment(ref _lastObject) };
        var errno = store.Apply(mutation, out var attributes, out var orphan);
        if (errno == 0 && (creates || mutation.Kind == MutationKind.Link))
            Reference(attributes.Object);
        if (orphan != 0)
        {
            lock (_gate)
                _orphans.Add(orphan);
            ReleaseIfUnused(orphan);
        }

        Answer(() => completed(errno, attributes));
    }

    private ulong ObjectOf(ulong handle)
    {
        lock (_gate)
            return _handles[handle];
    }

    private void ReleaseIfUnused(ulong obj)
    {
        lock (_gate)
        {
            if (_references.ContainsKey(obj) || _handles.ContainsValue(obj) || !_orphans.Remove(obj))
                return;
        }

        Assert.Equal(0, store.Apply(new Mutation(MutationKind.Release) { Object = obj }, out _, out _));
        Released?.Invoke(obj);
    }

    private void Answer(Action completion)
    {
        if (AnswerElsewhere)
            ThreadPool.UnsafeQueueUserWorkItem(run => run(), completion, preferLocal: false);
        else
            completion();
    }
}
