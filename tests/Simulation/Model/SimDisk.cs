namespace Pollux.Tests.Simulation.Model;

/// <summary>Picks one of so many possibilities, counted from 0. Seeded in a run, exhaustive in an enumeration.</summary>
internal delegate int Choose(int possibilities);

/// <summary>A host's disk: files made of sectors, their names, and the module's own metadata files. What was written is readable at once and
/// stable only after a flush; a loss of power keeps, of each sector by itself, any state since the last flush.</summary>
/// <remarks>
/// <para>Sectors are 512 bytes, the least that a disk writes whole, so everything longer can be torn. A hole takes no sector.</para>
/// <para>The namespace (names, owners, times) is journalled: a loss of power keeps a prefix of its changes, and a flush of anything makes
/// all of them stable, as fsync does on ext4 and XFS.</para>
/// <para>What could not be written back counts as clean although it is not stable, as Linux has it: a later flush does not save it. It is
/// readable until the page leaves the memory, at any time; then the disk's older content is read. A flush tells of it once: the next one of
/// the file, and the next one of everything. A new process is told what no older one was, unless the kernel has forgotten the file.</para>
/// </remarks>
internal sealed partial class SimDisk
{
    public const int SectorBytes = 512;

    /// <summary>The unit in which the file system tells data from holes.</summary>
    public const int PageBytes = 4096;

    private readonly SortedDictionary<ulong, SimFile> files = [];

    /// <summary>Write-back errors that no flush has told of yet, by file; 0 for a flush of everything.</summary>
    private readonly SortedDictionary<ulong, int> untold = [];
    private long version;

    /// <summary>What a descriptor that is open since long, and was never flushed by, has to tell.</summary>
    private int untoldOfAll;

    /// <summary>Answers the next operations of its kind with this Linux error number; 0: it works.</summary>
    public int WriteErrno { get => IsAborted ? Linux.EROFS : field; set; }

    public int FlushErrno { get => IsAborted ? Linux.EROFS : field; set; }

    public int MetadataErrno { get => IsAborted ? Linux.EROFS : field; set; }

    /// <summary>Not null: the file system fails under the next flush that has content to make stable. That one says nothing and loses it, this is
    /// called, and everything after it fails until the machine is started anew.</summary>
    public Action? FailsUnderFlush { get; set; }

    public bool IsAborted { get; private set; }

    /// <summary>A flush has lied since the copy was last found equal to the other.</summary>
    public bool HasLied { get; set; }

    /// <summary>Errors of the kernel's own writing back that no flush has told yet: one for each object, and one for everything.</summary>
    public int UntoldErrors => untold.Count;

    public IEnumerable<SimFile> Files => files.Values.Where(file => Names.ContainsKey(file.Object));

    public SimFile? Find(ulong obj) => Names.ContainsKey(obj) ? files.GetValueOrDefault(obj) : null;

    /// <summary>A module as it was before it was ever replicated, stable.</summary>
    public void MakeFiles(Layout layout)
    {
        var names = Names;
        names = names.SetItem(Layout.Root, new SimNode(Layout.Root, SimNode.Directory));
        foreach (var obj in layout.Files.Keys)
            names = names.SetItem(obj, new SimNode(obj, SimNode.Regular) { Links = SimNode.NoLinks.Add(new SimLinkName(Layout.Root, $"file{obj}")) });
        SetNames(names);
        foreach (var (obj, sizeBytes) in layout.Files)
            SetSize(obj, sizeBytes);
        EndFlush(BeginFlush(), 0);
    }

    public int Write(ulong obj, long offsetBytes, ReadOnlySpan<byte> data)
    {
        if (WriteErrno != 0)
            return WriteErrno;
        if (Find(obj) is not { } file)
            return Linux.ESTALE;
        if (offsetBytes + data.Length > file.SizeBytes)
            ShapeVersion++;
        file.Write(++version, offsetBytes, data);
        return 0;
    }

    public int Read(ulong obj, long offsetBytes, Span<byte> buffer, out int count)
    {
        count = 0;
        if (Find(obj) is not { } file)
            return Linux.ESTALE;
        count = file.Read(offsetBytes, buffer);
        return 0;
    }

    public int SetSize(ulong obj, long sizeBytes)
    {
        if (Find(obj) is not { } file)
            return Linux.ESTALE;
        ShapeVersion++;
        file.SetSize(++version, sizeBytes);
        return 0;
    }

    public int Punch(ulong obj, long offsetBytes, long lengthBytes)
    {
        if (Find(obj) is not { } file)
            return Linux.ESTALE;
        file.Punch(++version, offsetBytes, lengthBytes);
        return 0;
    }

    /// <summary>As ObjectStore.MakeHole: the file ends no sooner than the hole.</summary>
    public int MakeHole(ulong obj, long offsetBytes, long lengthBytes)
    {
        var errno = Punch(obj, offsetBytes, lengthBytes);
        return errno == 0 && Find(obj)!.SizeBytes < offsetBytes + lengthBytes ? SetSize(obj, offsetBytes + lengthBytes) : errno;
    }

    /// <summary>A flush covers what was written before it began; it is told to end by <see cref="EndFlush"/>.</summary>
    public long BeginFlush() => version;

    /// <summary>Content that was written and is not stable has been dropped, or has now gone from the memory too.</summary>
    public Action PagesDropped { get; set; } = static () => { };

    /// <summary>Sectors that were written since somebody took note.</summary>
    public List<(ulong Object, long Sector)> Touched { get; } = [];

    /// <summary>Grows with every change of names, lengths, or of content that is not in <see cref="Touched"/>.</summary>
    public long ShapeVersion { get; private set; }

    /// <param name="obj">0: everything.</param>
    /// <returns>A Linux error number.</returns>
    public int EndFlush(long begun, ulong obj)
    {
        var failed = FlushErrno;
        var lies = failed == 0 && FailsUnderFlush is not null && files.Values.Any(file => (obj == 0 || file.Object == obj) && file.HasDirty(begun));
        if (lies)
        {
            IsAborted = HasLied = true;
            failed = FlushErrno;
            FailsUnderFlush!();
            FailsUnderFlush = null;
        }
        foreach (var file in files.Values)
            if (obj == 0 || file.Object == obj)
                file.Flush(begun, failed != 0);
        if (failed == 0)
            FlushNames(begun);
        else
            Drop(failed);
        return lies ? 0 : untold.Remove(obj, out var errno) && failed == 0 ? errno : failed;
    }

    /// <summary>The kernel writes back by itself and fails.</summary>
    public void FailWriteback(int errno, Choose choose)
    {
        foreach (var file in files.Values.ToList())
        {
            if (!file.FailWriteback(version, choose))
                continue;
            untold[file.Object] = untold[0] = errno;
            Drop(errno);
        }
    }

    /// <summary>A flush of everything by a descriptor that outlives processes: it tells what went wrong since it was last used so, whoever
    /// was told of it.</summary>
    /// <returns>A Linux error number.</returns>
    public int FlushForHeir()
    {
        var errno = EndFlush(BeginFlush(), 0);
        var earlier = untoldOfAll;
        untoldOfAll = 0;
        return errno != 0 ? errno : earlier;
    }

    /// <summary>Everything is flushed, and every file is asked for what it has to tell.</summary>
    /// <returns>A Linux error number.</returns>
    public int FlushAndHear()
    {
        var errno = EndFlush(BeginFlush(), 0);
        if (errno == 0 && untold.Count > 0)
            errno = untold.Values.First();
        untold.Clear();
        return errno;
    }

    private void Drop(int errno)
    {
        untoldOfAll = errno;
        PagesDropped();
    }

    /// <summary>Memory is short: some clean pages go.</summary>
    public void Evict(Choose choose)
    {
        Evict(() => choose(2) == 1);
    }

    /// <summary>All clean pages go: what is read is what the disk holds, or will be written to it.</summary>
    public void DropCache()
    {
        Evict(static () => true);
    }

    private void Evict(Func<bool> leaves)
    {
        var any = false;
        version++;
        foreach (var file in files.Values)
            any |= file.Evict(version, leaves);
        if (!any)
            return;
        ShapeVersion++;
        PagesDropped();
    }

    /// <summary>What a process leaves when it dies is kept by the kernel, but for calls under way: those have happened or not.</summary>
    public void ProcessDies(Choose choose)
    {
        MetadataProcessDies(choose);
        foreach (var obj in untold.Keys.ToList())
        {
            if (choose(4) == 1)
                untold.Remove(obj);
        }
    }

    public void LosePower(Choose choose)
    {
        ShapeVersion++;
        LoseNames(choose);
        foreach (var file in files.Values)
            file.LosePower(choose);
        MetadataLosesPower(choose);
        untold.Clear();
        untoldOfAll = 0;
        FailsUnderFlush = null;
        IsAborted = false;
        WriteErrno = FlushErrno = MetadataErrno = 0;
    }
}

/// <summary>The error numbers that the simulated disk answers with (Linux, all architectures of .NET).</summary>
internal static class Linux
{
    public const int ENOENT = 2;
    public const int EIO = 5;
    public const int EEXIST = 17;
    public const int EINVAL = 22;
    public const int ENOSPC = 28;
    public const int EROFS = 30;
    public const int ESTALE = 116;
    public const int EDQUOT = 122;
}
