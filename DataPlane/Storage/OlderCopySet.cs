using Microsoft.Win32.SafeHandles;

namespace Pollux.DataPlane.Storage;

/// <summary>The folders <c>.pollux/older</c> of all directories of a module. A copy is complete when it is complete in every directory, under
/// the same number; what is there in some only is refuse.</summary>
internal sealed class OlderCopySet : IDisposable
{
    private readonly OlderCopyFolder?[] folders;

    private OlderCopySet(OlderCopyFolder?[] folders) => this.folders = folders;

    /// <param name="hidden">The directories <c>.pollux</c>.</param>
    public static OlderCopySet OpenIfThere(IReadOnlyList<SafeFileHandle> hidden) => Open(hidden, OlderCopyFolder.OpenIfThere);

    public static OlderCopySet OpenOrMake(IReadOnlyList<SafeFileHandle> hidden) => Open(hidden, OlderCopyFolder.OpenOrMake);

    public void Dispose()
    {
        foreach (var folder in folders)
            folder?.Dispose();
    }

    /// <summary>The complete copies: none or one.</summary>
    public IReadOnlyList<long> Complete() =>
        [.. Numbers().Where(number => folders.All(folder => folder?.Complete().Contains(number) == true))];

    /// <summary>Something that a crash or a stop left behind is to be removed.</summary>
    public bool HasRefuse => folders.Any(static folder => folder is { HasRefuse: true }) || Partial().Any();

    /// <returns>Null: damaged, or written by a newer version.</returns>
    public OlderCopyAbout? About(long number) => folders[0]?.About(number);

    /// <summary>Makes a copy of every directory; when it returns, the copy is complete and durable.</summary>
    /// <param name="modules">The module's directories. Of a set made by <see cref="OpenOrMake"/> only.</param>
    public void Add(IReadOnlyList<SafeFileHandle> modules, OlderCopyAbout about, TreeCopyOptions options)
    {
        for (var i = 0; i < folders.Length; i++)
            _ = folders[i]!.Add((int)modules[i].DangerousGetHandle(), about, options);
    }

    /// <summary>Takes a copy's name away, unless somebody reads a part of it. What is left of it is removed by <see cref="RemoveRefuse"/>.</summary>
    /// <returns>False: it is being read.</returns>
    public bool Retire(long number)
    {
        var holders = folders.OfType<OlderCopyFolder>().Where(folder => folder.Complete().Contains(number)).ToList();
        var locks = new List<IDisposable>();
        try
        {
            foreach (var folder in holders)
            {
                if (folder.TryHoldAlone(number) is not { } held)
                    return false;
                locks.Add(held);
            }
            foreach (var folder in holders)
                folder.TakeAway(number);
            return true;
        }
        finally
        {
            locks.ForEach(static held => held.Dispose());
        }
    }

    /// <returns>False if it was stopped before the end, or somebody reads a part.</returns>
    public bool RemoveRefuse(Func<bool> stop)
    {
        var whole = true;
        foreach (var number in Partial().ToList())
            whole &= Retire(number);
        foreach (var folder in folders)
            whole &= folder?.RemoveRefuse(stop) ?? true;
        return whole;
    }

    private static OlderCopySet Open(IReadOnlyList<SafeFileHandle> hidden, Func<int, OlderCopyFolder?> open)
    {
        var set = new OlderCopySet(new OlderCopyFolder?[hidden.Count]);
        try
        {
            for (var i = 0; i < hidden.Count; i++)
                set.folders[i] = open((int)hidden[i].DangerousGetHandle());
            return set;
        }
        catch
        {
            set.Dispose();
            throw;
        }
    }

    private IEnumerable<long> Numbers() => folders.OfType<OlderCopyFolder>().SelectMany(static folder => folder.Complete()).Distinct();

    private IEnumerable<long> Partial() => Numbers().Except(Complete());
}
