using System.Text.Json;
using System.Text.Json.Serialization;
using Pollux.DataPlane.Core;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Identity;
using Pollux.DataPlane.Telemetry;

namespace Pollux.DataPlane.Modules;

/// <summary>The durable state of one module as the file <c>state</c>.</summary>
public sealed class ModuleState(string stateDirectory) : IModuleState
{
    public LocalState? Load() => throw new IOException(stateDirectory);

    public void Save(LocalState state) => throw new IOException(stateDirectory);
}
