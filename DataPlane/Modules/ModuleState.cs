using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>Where the durable truth of one module is kept.</summary>
public interface IModuleState
{
    /// <summary>Null: nothing was ever stored here. A damaged file gives <see cref="LocalState.Fresh"/>: nothing is known of the copy.</summary>
    LocalState? Load();

    /// <summary>Returns when the state would survive a loss of power.</summary>
    /// <exception cref="IOException">It may or may not have been stored.</exception>
    void Save(LocalState state);
}

/// <summary>The state file of a module.</summary>
public sealed class ModuleState(string directory) : IModuleState
{
    private readonly ModuleStateFile _file = new(Path.Combine(directory, ModuleStateDirectory.StateFile));

    /// <summary>Notes in the state of every module of this host that the machine has lost power or rebooted, then that this is noted: a second start
    /// before a module is in sync again must still know (rule S2).</summary>
    /// <returns>Whether power was lost.</returns>
    public static bool NoteLostPower(string dataDirectory, PowerLossMarker marker)
    {
        if (!marker.LostPower())
            return false;
        var modules = Path.Combine(dataDirectory, "modules");
        if (Directory.Exists(modules))
        {
            foreach (var directory in Directory.EnumerateDirectories(modules))
            {
                var state = new ModuleState(directory);
                if (state.Load() is { } stored && stored.AfterBoot() is var booted && booted != stored)
                    state.Save(booted);
            }
        }

        marker.Set();
        return true;
    }

    public LocalState? Load()
    {
        var loaded = _file.Load();
        if (loaded.Damage is { } damage)
            HostLog.Error("modules", "a module's state is damaged; its copy counts as unknown", ("damage", damage));
        return loaded.Existed ? loaded.State : null;
    }

    public void Save(LocalState state) => _file.Save(state);
}
