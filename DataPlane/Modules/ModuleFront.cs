using Microsoft.Win32.SafeHandles;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Volumes;

namespace Pollux.DataPlane.Modules;

/// <summary>Mounts and covers the directories of a module with FUSE, each by a <see cref="DirectoryFront"/>. Mount calls block, so they run on pool
/// threads, in order.</summary>
public sealed class ModuleFront : IModuleFront
{
    private readonly DirectoryFront[] _directories;
    private FuseCompletions? _completions;

    /// <param name="directories">In the order that both hosts know.</param>
    /// <param name="exchangesDirectory">Where exchanges of names are noted (<see cref="ExchangeNotes"/>); each directory after the first has one of
    /// its own beside it.</param>
    /// <param name="holder">Keeps the serving mounts over the death of this process.</param>
    /// <param name="held">The mounts of an earlier process, one for each directory in their order, or none; this front's from now on.</param>
    public ModuleFront(
        string module, IReadOnlyList<string> directories, string exchangesDirectory, IMountHolder holder, IReadOnlyList<HeldMount>? held)
    {
        _directories = new DirectoryFront[directories.Count];
        for (var i = 0; i < _directories.Length; i++)
        {
            var exchanges = new ExchangeNotes(i == 0 ? exchangesDirectory : $"{exchangesDirectory}-{i + 1}");
            _directories[i] = new DirectoryFront(module, directories[i], i, exchanges, holder, held?[i]);
            _directories[i].Failed += reason => Failed?.Invoke(reason);
        }
    }

    public event Action<string>? Failed;

    public IReadOnlyList<SafeFileHandle> Directories => [.. _directories.Select(static directory => directory.Directory)];

    /// <summary>Users of an earlier process wait for the volume, and have files open.</summary>
    public bool HoldsUsers => _directories.Any(static directory => directory.HoldsUsers);

    public Task OpenAsync(string explanation) => Task.Run(() =>
    {
        var opened = 0;
        try
        {
            foreach (var directory in _directories)
            {
                directory.Open(explanation);
                opened++;
            }
        }
        catch
        {
            // It is tried again by another front. The mounts of an earlier process are the caller's to end.
            foreach (var directory in _directories.Take(opened).Where(static directory => !directory.HoldsUsers))
                directory.Close();
            throw;
        }
    });

    public IVolumeCompletions NewCompletions() => _completions = new FuseCompletions();

    public Task ServeAsync(IModuleVolume volume) => ForEachAsync(directory => directory.Serve(volume, _completions!));

    public Task SettleAsync() => Task.WhenAll(_directories.Select(static directory => directory.SettleAsync()));

    public Task CoverAsync() => ForEachAsync(static directory => directory.Cover());

    public void Explain(string explanation)
    {
        foreach (var directory in _directories)
            directory.Explain(explanation);
    }

    public Task CloseAsync() => ForEachAsync(static directory => directory.Close());

    private Task ForEachAsync(Action<DirectoryFront> step) => Task.Run(() =>
    {
        foreach (var directory in _directories)
            step(directory);
    });
}
