namespace Pollux.Lab.Machines;

/// <summary>The configuration of the libvirtd of one host: no cgroups, no security driver, no helper daemons, because a
/// host of the lab has none of them.</summary>
internal static class LibvirtConfiguration
{
    public static void Write(string folder)
    {
        Directory.CreateDirectory(Path.Combine(folder, "qemu"));
        File.WriteAllText(Path.Combine(folder, "qemu.conf"), """
            security_driver = "none"
            security_default_confined = 0
            user = "root"
            group = "root"
            dynamic_ownership = 0
            remember_owner = 0
            cgroup_controllers = [ ]
            namespaces = [ ]
            stdio_handler = "file"
            max_core = 0
            seccomp_sandbox = 0

            """);
        var settings = Path.Combine(folder, "libvirtd.conf");
        // The identity of a host stays over its reboots.
        if (File.Exists(settings))
            return;
        File.WriteAllText(settings, $"""
            auth_unix_rw = "none"
            unix_sock_rw_perms = "0700"
            host_uuid = "{Guid.NewGuid()}"
            log_outputs = "3:file:/var/log/libvirt/libvirtd.log"

            """);
    }
}
