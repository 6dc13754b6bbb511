using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Storage;

namespace Pollux.Tests.Unit.Storage;

/// <summary>Opens the store of a module with several directories by their paths.</summary>
internal static class StoreOf
{
    public static ObjectStore Directories(params string[] paths) => Directories(ObjectStoreOptions.Default, paths);

    public static ObjectStore Directories(ObjectStoreOptions options, params string[] paths)
    {
        var handles = paths.Select(CoveredDirectory.OpenDirectory).ToList();
        try
        {
            return ObjectStore.Open([.. handles], options);
        }
        finally
        {
            handles.ForEach(static handle => handle.Dispose());
        }
    }

    /// <summary>As when a new module takes the directory.</summary>
    public static void Release(string path)
    {
        using var handle = CoveredDirectory.OpenPath(path);
        ObjectStore.Release(handle);
    }
}
